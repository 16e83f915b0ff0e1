"""Stage libraries: the shared libraries at the time of saving beside today's, and the ranges that the code asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from app_loader.diagnosis.finding import Finding
from app_loader.store.shared import SharedLibrary


def judge_libraries(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield every shared library that has another version now."""
    for name, was in environment.items():
        if name == "platform":
            continue
        now = platform.python_version() if name == "python" else _version(name)
        if now == was:
            continue
        yield Finding(
            stage="libraries",
            severity="warning" if name == "torch" and _major(was) != _major(now) else "note",
            subject=name,
            message=f"{name} is {'another version' if now else 'not installed'}",
            old=was,
            new=now,
        )


def judge_ranges(outside: Sequence[SharedLibrary], code: str) -> Iterator[Finding]:
    """Yield every shared library outside the range that the code asks for."""
    for library in outside:
        yield Finding(
            stage="libraries",
            severity="warning",
            subject=library.name,
            message=f"{code} asks for {library.name} {library.asked or 'in any version'}",
            old=library.then,
            new=library.installed,
            evidence=("the range stands in the metadata of its wheel; nothing of it was run to read it",),
            next_command="mpt load ARCHIVE --verify witness   # whether it does what was recorded nevertheless",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _major(version: str | None) -> str:
    return (version or "").partition(".")[0]
