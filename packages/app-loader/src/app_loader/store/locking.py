"""The lock of one entry: one process changes the entry, and whoever waits sleeps in the kernel until that is over.

Those who wait do not queue for the lock. When it is let go all of them wake at once, and each looks whether there is
still something to do. A process that is killed lets go of it too. The library that keeps the lock where the system has
no `flock` looks again and again instead, so nothing here uses it where there is one: it costs who waits 0.5 ms.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""What a file system without `flock` says."""


@contextmanager
def held_or_awaited(path: Path) -> Iterator[bool]:
    """Hold the lock and give True, where nobody holds it; else wait until it is let go, hold nothing, and give False.

    Where the system cannot wake who waits, the lock is waited for and then held, so that what is given is True.

    Raises:
        OSError: the file cannot be made, or its folder does not exist.
    """
    if fcntl is None:
        with _held_by_library(path):
            yield True
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            held = _take_or_wait(descriptor)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            with _held_by_library(path):
                yield True
            return
        try:
            yield held
        finally:
            # Not left to closing: a child that was forked meanwhile has the descriptor too, and would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _take_or_wait(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second is what some network file systems say
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


@contextmanager
def _held_by_library(path: Path) -> Iterator[None]:
    from filelock import FileLock

    # By another name: without `flock` the library takes a file that is there, as ours is, for a lock that is held.
    with FileLock(path.with_name(f"{path.name}.taken")):
        yield
