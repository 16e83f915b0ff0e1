"""Provenance: the repository, commit and working-tree difference that source comes from, and building it again."""

from app_loader.credentials import strip_credentials
from app_loader.provenance.rebuild import BuiltWheel, build_wheel
from app_loader.provenance.secrets import find_secrets
from app_loader.provenance.source import Provenance, find_provenance

__all__ = ["BuiltWheel", "Provenance", "build_wheel", "find_provenance", "find_secrets", "strip_credentials"]
