"""Resolving: which code computes a checkpoint, what was considered, and why each other candidate was rejected."""

from app_loader.resolve.resolution import Candidate, Resolution
from app_loader.resolve.resolver import resolve

__all__ = ["Candidate", "Resolution", "resolve"]
