"""The repository itself as the thing under test: where it stands, and a copy of its sources to plant mistakes in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return _ROOT


@pytest.fixture
def source_tree(repository: Path, tmp_path: Path) -> Path:
    """Return a folder with a copy of the four import packages and the import contracts."""
    for source in sorted(repository.glob("packages/*/src/*/")):
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / ".importlinter", tmp_path)
    return tmp_path
