"""Where an archive's bytes come from: one opened thing that is read by position.

Refuses pipes, devices and folders without waiting on them. A local file is opened once; every check and every read go
through that one descriptor, so a file swapped afterwards is never seen.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path
from typing import Protocol

from mpt_format.errors import ArchiveNotFoundError, ArchiveProblem, CorruptArchiveError


class ByteSource(Protocol):
    """Bytes by position.

    Attributes:
        name: the path or URL, as given.
        size_bytes: the size at the time of opening.
    """

    name: str
    size_bytes: int

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly that many bytes.

        Raises:
            CorruptArchiveError: the source ends before.
        """

    def map_private(self) -> mmap.mmap | memoryview:
        """Return the whole source as writable memory that no one else sees."""

    def close(self) -> None:
        """Release the source; memory that was mapped stays valid."""


class LocalSource:
    """A regular file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file.

        Raises:
            ArchiveNotFoundError: nothing there, not a regular file, or not readable.
        """
        self.name = os.fspath(path)
        try:
            # O_NONBLOCK: opening a pipe without a writer would wait for ever
            self._fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or str(error)
            raise _not_found(self.name, reason + _where_looked(self.name)) from None
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise _not_found(self.name, f"is {kind}, not a regular file")
        self.size_bytes = status.st_size

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly that many bytes; see `ByteSource.read_at`.

        Raises:
            CorruptArchiveError: the file ends before.
            ValueError: the source is closed.
        """
        self._check_open()
        parts: list[bytes] = []
        left = size_bytes
        while left > 0:
            try:
                part = os.pread(self._fd, min(left, 1 << 30), offset)
            except OSError as error:
                raise _cut(self.name, offset, error.strerror or str(error)) from None
            if not part:
                raise _cut(self.name, offset, "the file ends there")
            parts.append(part)
            offset += len(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def map_private(self) -> mmap.mmap | memoryview:
        """Return the file, mapped copy-on-write; see `ByteSource.map_private`."""
        self._check_open()
        if self.size_bytes == 0 or os.fstat(self._fd).st_size < self.size_bytes:
            raise _cut(self.name, self.size_bytes, "the file has become shorter")
        try:
            return mmap.mmap(self._fd, self.size_bytes, access=mmap.ACCESS_COPY)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError(f"{self.name}: no address space for {self.size_bytes} bytes") from None
            raise _cut(self.name, 0, error.strerror or str(error)) from None

    def close(self) -> None:
        """Close the descriptor; a mapping keeps the file by itself."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check_open(self) -> None:
        if self._fd < 0:
            raise ValueError(f"{self.name}: the archive is closed; read inside the `with` block")


class MemorySource:
    """An archive that is already in memory."""

    def __init__(self, data: bytes, name: str = "<memory>") -> None:
        self.name = name
        self.size_bytes = len(data)
        self._data = data

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly that many bytes; see `ByteSource.read_at`."""
        part = self._data[offset : offset + size_bytes]
        if len(part) != size_bytes:
            raise _cut(self.name, offset, "the data end there")
        return part

    def map_private(self) -> mmap.mmap | memoryview:
        """Return a copy of the data."""
        return memoryview(bytearray(self._data))

    def close(self) -> None:
        """Nothing to release."""


def _where_looked(name: str) -> str:
    """Return what a person needs to see their slip: the folder a relative path was looked for in, and near names."""
    if name.startswith("~"):
        return "; ~ is not expanded here, use Path(...).expanduser()"
    import difflib

    path = Path(name)
    told = ""
    try:
        if not path.is_absolute():
            told = f"; looked in {Path.cwd()}"
        near = difflib.get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=2)
    except (OSError, ValueError):  # no such folder, a NUL, or a working directory that is gone
        near = []
    return told + (f"; did you mean {' or '.join(near)}?" if near else "")


def _not_found(name: str, message: str) -> ArchiveNotFoundError:
    return ArchiveNotFoundError(name, [ArchiveProblem(where="file", message=message)])


def _cut(name: str, offset: int, message: str) -> CorruptArchiveError:
    return CorruptArchiveError(name, [ArchiveProblem(where=f"byte {offset}", message=message)])
