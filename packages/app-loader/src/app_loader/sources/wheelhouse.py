"""Finding a wheel in configured folders, by name and version or by digest. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from app_loader.store.wheel import file_sha256


def find_wheels(folders: Iterable[Path], requirement: Requirement, sha256: str | None = None) -> list[Path]:
    """Return the wheels that fit a requirement, best version last; where a digest is given, only those that have it.

    Args:
        folders: folders of wheels.
        requirement: name and range.
        sha256: the first digits of the wheel's digest.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.whl")) if folder.is_dir() else []:
            try:
                name, version, _, _ = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            if name != canonicalize_name(requirement.name) or not path.is_file():  # a pipe is waited for without end
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                continue
            if sha256 is None or wheel_sha256(path).startswith(sha256):
                found.append((version, path))
    return [path for _, path in sorted(found)]


def wheel_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as file:
        return file_sha256(file)
