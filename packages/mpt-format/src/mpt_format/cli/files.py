"""From what stands on the command line to files: paths as given, the files of folders, and what globs match."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from mpt_format.errors import AuditError, escape_text

Unreadable: TypeAlias = tuple[str, AuditError]
"""A folder that cannot be listed, and why."""

_IGNORED_FOLDERS = frozenset({".git", "__pycache__", ".venv", "node_modules"})


def expand_paths(paths: Sequence[str], unreadable: list[Unreadable]) -> Iterator[tuple[str, str]]:
    """Give each file once, in order, with its place: its path below the folder that was named, else its name.

    A glob names the folder before its first pattern: `old/**/*.pt` gives `a/x.pt` its place below `old`. In a folder,
    links to folders are not followed, and what is no regular file (a FIFO, a socket, a device) is passed over. A path
    that does not exist is given as it is: who opens it says so.

    Args:
        paths: Files, folders and globs.
        unreadable: Folders that cannot be listed are added here.
    """
    seen: set[str] = set()
    for path in paths:
        if os.path.lexists(path) or not glob.has_magic(path):
            matches, base = [path], path if Path(path).is_dir() else None
        else:
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern may be absolute
            base = _plain_part(path)
        for match in matches:
            for file in _files_of(match, unreadable):
                if file not in seen:
                    seen.add(file)
                    yield file, Path(file).name if base is None else os.path.relpath(file, base)


def tell_apart(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Files with places, no two alike: files of one place keep their paths below the folder that they all lie in.

    So `a/model.pt` and `b/model.pt`, each named by itself, keep the folders that tell them apart.
    """
    by_place: dict[str, list[str]] = {}
    for file, place in found:
        by_place.setdefault(place, []).append(file)
    apart: list[tuple[str, str]] = []
    for place, files in by_place.items():
        if len(files) == 1:
            apart.append((files[0], place))
            continue
        above = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])  # noqa: PTH100, PTH120
        apart += [(file, os.path.relpath(file, above)) for file in files]
    return apart


def _plain_part(pattern: str) -> str:
    """The folder before the first part of a pattern that is one."""
    parts = Path(pattern).parts
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first]))


def _files_of(path: str, unreadable: list[Unreadable]) -> Iterator[str]:
    if not Path(path).is_dir():
        yield path
        return

    def note(error: OSError) -> None:
        name = os.fsdecode(error.filename)
        reason = f"{escape_text(name)} cannot be listed: {error.strerror or error}; check who may read it"
        unreadable.append((name, AuditError(reason)))

    for base, folders, names in os.walk(path, onerror=note):
        folders[:] = sorted(name for name in folders if name not in _IGNORED_FOLDERS)
        for name in sorted(names):
            file = os.path.join(base, name)  # noqa: PTH118 - os.walk gives text
            if Path(file).is_file():
                yield file
