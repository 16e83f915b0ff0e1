"""Archives behind a URL: a few kilobytes by range to inspect, one streamed and verified download to load.

Whatever fsspec reaches can hold an archive: ``https://``, ``s3://``, ``hf://``, ``memory://``. Ranges are read in
blocks that are kept, so the directory, the manifest and the headers cost a handful of requests. Tensors are mapped from
a local copy in a cache named by the content digest; every digest of the copy is compared before it takes that name.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

from mpt_format.byte_source import LocalSource
from mpt_format.errors import (
    ArchiveNotFoundError,
    ArchiveProblem,
    CorruptArchiveError,
    MissingExtraError,
    RemoteReadError,
)

_BLOCK_BYTES = 16 << 10
_PIECE_BYTES = 8 << 20


def open_remote(url: str) -> RemoteSource:
    """Open a URL for reading by range.

    Raises:
        MissingExtraError: fsspec, or the file system that the scheme needs, is not installed.
        ArchiveNotFoundError: nothing there, or the server does not tell the size.
    """
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("remote", f"reading {url}") from None
    try:
        file_system, path = fsspec.core.url_to_fs(url)
        size = file_system.info(path).get("size")
    except ImportError as error:  # fsspec says which package the scheme needs
        raise MissingExtraError("remote", f"reading {url}", advice=str(error)) from None
    except FileNotFoundError as error:
        said = error.__cause__ or error.__context__  # why, where the library kept it: a refused connection, a 403
        raise _not_found(url, str(said or error) or "nothing is there") from None
    except Exception as error:  # each file system has errors of its own
        raise _not_found(url, str(error) or type(error).__name__) from None
    if size is None:
        raise _not_found(url, "the server does not tell the file's size; it must support range requests")
    return RemoteSource(url, file_system, path, int(size))


def cache_folder() -> Path:
    """Return where downloaded archives are kept: $MPT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("MPT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpt" / "archives"


class RemoteSource:
    """One remote file.

    Attributes:
        name: the URL.
        size_bytes: as the server tells it.
        requested_bytes: bytes asked for by range so far.
    """

    def __init__(self, url: str, file_system: Any, path: str, size_bytes: int) -> None:
        self.name = url
        self.size_bytes = size_bytes
        self.requested_bytes = 0
        self._file_system = file_system
        self._path = path
        self._blocks: dict[int, bytes] = {}

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return exactly that many bytes; small reads go through blocks that are kept."""
        if offset + size_bytes > self.size_bytes:
            raise self._cut(offset, "the file ends before")
        if size_bytes > _BLOCK_BYTES:
            return self._fetch(offset, size_bytes)
        first, last = offset // _BLOCK_BYTES, (offset + max(size_bytes, 1) - 1) // _BLOCK_BYTES
        data = b"".join(self._block(index) for index in range(first, last + 1))
        start = offset - first * _BLOCK_BYTES
        return data[start : start + size_bytes]

    def map_private(self) -> mmap.mmap | memoryview:
        """Return the file, mapped from a verified local copy; it is downloaded when there is none."""
        local = LocalSource(self.find_cached() or self.download())
        try:
            return local.map_private()
        finally:
            local.close()

    def close(self) -> None:
        """Drop the blocks."""
        self._blocks.clear()

    def find_cached(self) -> Path | None:
        """Return the local copy, if there is one."""
        from mpt_format.archive import Archive

        target = cache_folder() / f"{Archive(self).manifest.content_digest}-{self.size_bytes}.mpt"
        return target if target.is_file() else None

    def download(self) -> Path:
        """Stream the file into the cache, compare every digest, and return the copy.

        Raises:
            CorruptArchiveError: what arrived is not what the remote manifest says.
        """
        from mpt_format.archive import Archive

        digest = Archive(self).manifest.content_digest
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{digest}-{self.size_bytes}.mpt"
        fd, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(fd, "wb") as file:
                for offset in range(0, self.size_bytes, _PIECE_BYTES):
                    file.write(self._fetch(offset, min(_PIECE_BYTES, self.size_bytes - offset)))
                file.flush()
                os.fsync(file.fileno())
            with Archive(LocalSource(name)) as copy:
                copy.verify("full")
                if copy.manifest.content_digest != digest:
                    raise self._cut(0, "the file changed while it was downloaded")
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return target

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            offset = index * _BLOCK_BYTES
            self._blocks[index] = self._fetch(offset, min(_BLOCK_BYTES, self.size_bytes - offset))
        return self._blocks[index]

    def _fetch(self, offset: int, size_bytes: int) -> bytes:
        if size_bytes == 0:
            return b""
        self.requested_bytes += size_bytes
        try:
            data: bytes = self._file_system.cat_file(self._path, start=offset, end=offset + size_bytes)
        except Exception as error:  # each file system has errors of its own
            raise self._unread(offset, str(error) or type(error).__name__) from None
        if len(data) != size_bytes:
            message = f"asked for {size_bytes} bytes and got {len(data)}"
            whole = len(data) == self.size_bytes
            raise self._unread(offset, f"{message}: it does not answer range requests" if whole else message)
        return data

    def _unread(self, offset: int, message: str) -> RemoteReadError:
        return RemoteReadError(self.name, [ArchiveProblem(where=f"server, byte {offset}", message=message)])

    def _cut(self, offset: int, message: str) -> CorruptArchiveError:
        return CorruptArchiveError(self.name, [ArchiveProblem(where=f"byte {offset}", message=message)])


def _not_found(url: str, message: str) -> ArchiveNotFoundError:
    return ArchiveNotFoundError(url, [ArchiveProblem(where="URL", message=message)])
