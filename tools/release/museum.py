"""The museum's step of a release: the new wheel of the zoo trains its room, once and never again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.version import Version

from tools.release.errors import ReleaseError


def grow_museum(root: Path, version: Version) -> Path | None:
    """Train the room of a version with its wheel from the wheelhouse and return its folder.

    A checkout without a museum, or with a room of that version already, is left as it is.

    Raises:
        ReleaseError: the new wheel could not train or save its exhibits.
    """
    room = root / "museum" / str(version)
    if room.exists() or not (root / "museum/make.py").exists():
        return None
    command = [sys.executable, "-m", "museum.make", str(version)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return room
