"""Files that git LFS keeps elsewhere: a commit holds a pointer, which names the content by its sha256.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n"
)
_MAX_POINTER_BYTES = 1024


def read_pointer(content: bytes) -> str | None:
    """Return the sha256 (hex) that a pointer names, None for any other content."""
    match = _POINTER.match(content) if len(content) < _MAX_POINTER_BYTES else None
    return match[1].decode() if match else None


def fill_pointers(folder: Path, repository: Path | None) -> list[str]:
    """Put the content in the place of the pointers below a folder, where a local repository has it.

    Args:
        folder: files of a checkout.
        repository: the git folder of the repository it comes from; None where it is not here.

    Returns:
        The paths, below the folder, whose content is not at hand.
    """
    missing = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size >= _MAX_POINTER_BYTES:
            continue
        pointer = read_pointer(path.read_bytes())
        if pointer is None:
            continue
        kept = None if repository is None else repository / "lfs" / "objects" / pointer[:2] / pointer[2:4] / pointer
        if kept is not None and kept.is_file() and _sha256(kept) == pointer:
            path.unlink()
            shutil.copyfile(kept, path)
        else:
            missing.append(path.relative_to(folder).as_posix())
    return missing


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
