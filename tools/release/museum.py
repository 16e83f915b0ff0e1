"""The museum's step of a release: the new wheel of the zoo trains its room, once; the matrix is recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.version import Version

from tools.release.errors import ReleaseError


def grow_museum(root: Path, version: Version) -> Path | None:
    """Train the room of a version with its wheel from the wheelhouse, record the matrix, and return the room.

    A checkout without a museum, or with a room of that version already, is left as it is.

    Raises:
        ReleaseError: the new wheel could not train or save its exhibits.
    """
    room = root / "museum" / str(version)
    if room.exists() or not (root / "museum/make.py").exists():
        return None
    _run(root, "-m", "museum.make", str(version))
    matrix = _run(root, "-c", _MPT, "museum", "museum", "--wheelhouse", "wheelhouse", "--json")
    (root / "museum/matrix.json").write_text(matrix, encoding="utf-8")
    return room


_MPT = "from mpt_format.cli import main; main()"


def _run(root: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"python {' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout
