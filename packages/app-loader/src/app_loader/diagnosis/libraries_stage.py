"""Stage libraries: the shared libraries at the time of saving beside today's."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata

from app_loader.diagnosis.finding import Finding


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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _major(version: str | None) -> str:
    return (version or "").partition(".")[0]
