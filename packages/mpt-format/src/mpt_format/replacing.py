"""A file that takes another's place as a whole, or never existed.

The new bytes go to a file without a name where the system has such files (Linux), so that a process that is killed
leaves nothing behind; elsewhere to a hidden file beside the target. Then flush, rename, flush the folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mpt_format.disk import reserve_room
from mpt_format.errors import ArchiveProblem, ArchiveWriteError


@contextlib.contextmanager
def replacing_file(target: Path, *, expected_bytes: int = 0) -> Iterator[int]:
    """Give a descriptor for new bytes; when all went well they take the target's place.

    Args:
        target: the file to replace, or to make.
        expected_bytes: about as many bytes as will be written; a disk without so much room refuses at once. In the end
            the file is cut off at the descriptor's position.

    Raises:
        ArchiveWriteError: the file system refused; the target is as it was.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        fd, is_named = _open_new(temporary)
        try:
            try:
                reserve_room(fd, expected_bytes)
                yield fd
                os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))
                os.fsync(fd)
                if not is_named:
                    _give_name(fd, temporary)
                    is_named = True
            finally:
                os.close(fd)
            temporary.replace(target)
        except BaseException:
            if is_named:
                with contextlib.suppress(OSError):
                    temporary.unlink()
            raise
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, ArchiveWriteError):
            raise
        message = error.strerror or str(error)
        raise ArchiveWriteError(
            str(target), [ArchiveProblem(where="file system", message=message)], error.errno
        ) from error


def _open_new(temporary: Path) -> tuple[int, bool]:
    """Open a new file for writing; tell whether it has its name already."""
    unnamed = getattr(os, "O_TMPFILE", 0)
    if unnamed and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):  # NFS and others have no such files; what else is wrong shows below
            return os.open(temporary.parent, os.O_RDWR | unnamed | os.O_CLOEXEC, 0o666), False
    return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), True


def _give_name(fd: int, path: Path) -> None:
    """Link a file without a name into its folder."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # a folder descriptor makes Python call linkat(2), which alone follows /proc/self/fd/N to the file itself
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
