"""Where wheels come from, and what may come from there. Taking one into the store is the act of trust."""

from app_loader.sources.adding import add_archive, add_repository, add_requirement, add_wheels
from app_loader.sources.companions import PinnedCompanion
from app_loader.sources.index import fetch_wheels
from app_loader.sources.wheelhouse import find_wheels

__all__ = [
    "PinnedCompanion",
    "add_archive",
    "add_repository",
    "add_requirement",
    "add_wheels",
    "fetch_wheels",
    "find_wheels",
]
