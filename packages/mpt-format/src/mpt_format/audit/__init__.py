"""The checkpoint audit: what a file holds and what torch would say to it, without running it."""

from ._audit import audit_bytes, audit_checkpoint
from ._limits import DEFAULT_LIMITS, Limits
from ._result import SEVERITIES, VERDICTS, FileAudit, Finding, TopLevelEntry, TorchAnswer, worst_verdict

__all__ = [
    "DEFAULT_LIMITS",
    "SEVERITIES",
    "VERDICTS",
    "FileAudit",
    "Finding",
    "Limits",
    "TopLevelEntry",
    "TorchAnswer",
    "audit_bytes",
    "audit_checkpoint",
    "worst_verdict",
]
