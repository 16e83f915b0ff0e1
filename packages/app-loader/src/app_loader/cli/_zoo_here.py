"""Which zoo a person means who names none: the project whose folder they stand in."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from policy_interface.migrations import ENTRY_POINTS as REVISIONS

from app_loader.code import ARCHITECTURES


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooProject:
    """A project that declares kinds or revisions.

    Attributes:
        name: of its distribution.
        folder: where its pyproject.toml lies.
    """

    name: str
    folder: Path


def find_zoo_here(start: Path) -> ZooProject | None:
    """Return the zoo whose project a folder belongs to, None where the nearest project is no zoo.

    Args:
        start: the folder; the nearest `pyproject.toml` upwards decides. One that cannot be read is no zoo's.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            name = _read_name(file)
            return None if name is None else ZooProject(name=name, folder=folder)
    return None


def find_zoos_installed() -> list[str]:
    """Return the names of the installed distributions that declare revisions, sorted."""
    return sorted({point.dist.name for point in metadata.entry_points(group=REVISIONS) if point.dist})


def _read_name(file: Path) -> str | None:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        return None
    points = project.get("entry-points") if isinstance(project, dict) else None
    is_zoo = isinstance(points, dict) and (ARCHITECTURES in points or REVISIONS in points)
    return str(project["name"]) if is_zoo and isinstance(project, dict) and "name" in project else None
