"""Isolating several folders at once, each a version, as comparison suites hand them over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from app_loader.isolated._directory import isolate_directory


def from_directories(folders: Mapping[str, Path]) -> dict[str, Callable[[str], ModuleType]]:
    """Return, for each labelled folder of unpacked packages, an importer that works as `importlib.import_module`."""
    return {label: isolate_directory(folder).import_module for label, folder in folders.items()}
