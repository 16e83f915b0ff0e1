"""Provenance: the repository, commit and working-tree difference that a package's source comes from."""

from app_loader.provenance.source import Provenance, find_provenance

__all__ = ["Provenance", "find_provenance"]
