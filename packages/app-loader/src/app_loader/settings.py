"""Settings: where code may come from. Read from `mpt.toml`, or from `[tool.mpt]` in `pyproject.toml`.

The nearest folder from the working directory upwards that has either decides. Without any, nothing is allowed that was
not put into the store by hand::

    wheelhouses = ["wheelhouse"]        # folders whose wheels may be added
    indexes = []                        # package indexes that may be asked, by URL
    repositories = []                   # repositories that may be built from, by URL or folder
    fetch = false                       # whether anything may be fetched at all
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app_loader.errors import SettingsError

_LISTS = ("wheelhouses", "indexes", "repositories")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where code may come from.

    Attributes:
        source: the file the settings were read from, None for the defaults.
        wheelhouses: folders whose wheels may be added; relative ones are relative to the file.
        indexes: package indexes that may be asked, by URL.
        repositories: repositories that may be built from, by URL or folder.
        fetch: whether anything may be fetched over a network.
    """

    source: Path | None = None
    wheelhouses: tuple[Path, ...] = ()
    indexes: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    fetch: bool = False


def read_settings(start: Path | None = None) -> Settings:
    """Return the settings of the nearest file, from a folder upwards; the defaults where there is none.

    Args:
        start: the folder to begin with, None for the working directory.

    Raises:
        SettingsError: a file is not TOML, or a key is unknown or of the wrong type; with every problem.
    """
    first = (start or Path.cwd()).absolute()
    for folder in (first, *first.parents):
        for name in ("mpt.toml", "pyproject.toml"):
            file = folder / name
            table = _read_table(file) if file.is_file() else None
            if table is not None:
                return _settings(file, table)
    return Settings()


def _read_table(file: Path) -> Mapping[str, Any] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if file.name == "pyproject.toml":
            return None  # somebody else's file: not ours to judge
        raise SettingsError(str(file), [f"not TOML: {error}"]) from None
    if file.name == "mpt.toml":
        return document
    table = document.get("tool", {}).get("mpt") if isinstance(document.get("tool", {}), dict) else None
    return table if isinstance(table, dict) else None


def _settings(file: Path, table: Mapping[str, Any]) -> Settings:
    problems = [
        f"{key}: unknown, expected one of {', '.join((*_LISTS, 'fetch'))}" for key in table.keys() - {*_LISTS, "fetch"}
    ]
    for key in _LISTS:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            problems.append(f"{key}: expected a list of texts, got {value!r:.60}")
    if not isinstance(table.get("fetch", False), bool):
        problems.append(f"fetch: expected true or false, got {table['fetch']!r:.60}")
    if problems:
        raise SettingsError(str(file), sorted(problems))
    return Settings(
        source=file,
        wheelhouses=tuple(file.parent / text for text in table.get("wheelhouses", [])),
        indexes=tuple(table.get("indexes", [])),
        repositories=tuple(table.get("repositories", [])),
        fetch=table.get("fetch", False),
    )
