"""Why an archive does not load with other code: every difference, stage by stage, each with its evidence."""

from app_loader.diagnosis.diagnose import diagnose
from app_loader.diagnosis.finding import Finding, Severity
from app_loader.diagnosis.report import Diagnosis

__all__ = ["Diagnosis", "Finding", "Severity", "diagnose"]
