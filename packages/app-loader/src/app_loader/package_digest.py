"""The digest of a package's own files: it tells equal code apart from code with an equal version text.

An editable tree, an installed wheel and a stored wheel of the same sources have the same package digest, so a
checkpoint that was saved before its wheel was built can still be pinned by content.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_BYTECODE = frozenset({".pyc", ".pyo"})


def package_digest(folder: Path) -> str:
    """Return the sha256 (hex) over every file below a package's folder, by relative path and content.

    Bytecode is left out: it is made by the interpreter, not by the author.
    """
    digest = hashlib.sha256()
    for file in sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in _BYTECODE and "__pycache__" not in path.relative_to(folder).parts
    ]
