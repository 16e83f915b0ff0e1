"""The digest of a package's own files: it tells equal code apart from code with an equal version text.

An editable tree, an installed wheel and a stored wheel of the same sources have the same package digest, so a
checkpoint that was saved before its wheel was built can still be pinned by content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_BYTECODE = frozenset({".pyc", ".pyo"})


def package_digest(folder: Path) -> str:
    """Return the sha256 (hex) over every file below a package's folder, by relative path and content.

    Bytecode is left out: it is made by the interpreter, not by the author. Links to folders are followed, as imports
    and builds follow them: what is imported from there is the package's code as well.
    """
    digest = hashlib.sha256()
    for file in sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        with file.open("rb") as opened:  # not read whole: a package may link to a folder of data
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return [
        path
        for root, names in _folders(folder)
        for path in (root / name for name in names)
        if path.suffix not in _BYTECODE and path.is_file()
    ]


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder of a package with the names of its files; a link that leads round in a circle is left out."""
    for root, names, files in os.walk(folder, followlinks=True):
        names[:] = [name for name in names if name != "__pycache__" and not _is_circle(Path(root), name, folder)]
        yield Path(root), files


def _is_circle(root: Path, name: str, folder: Path) -> bool:
    """Whether a link leads to a folder that the package, or the way to the link, lies in."""
    link = root / name
    if not link.is_symlink():
        return False
    target = link.resolve()
    above = [each.resolve() for each in (root, *root.parents) if each.is_relative_to(folder)]
    return any(each.is_relative_to(target) for each in above)
