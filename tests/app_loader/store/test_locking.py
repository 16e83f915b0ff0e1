"""The lock of an entry: one holds it, who waits wakes when it is let go, and nothing else keeps it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from app_loader.store import Store, locking
from app_loader.store.locking import held_or_awaited
from filelock import FileLock, Timeout


def no_flock(*_: object) -> None:
    raise OSError(errno.ENOSYS, "this file system has no locks")


WITHOUT = {
    "a system that has none": None,
    "a file system that has none": SimpleNamespace(flock=no_flock, LOCK_EX=2, LOCK_NB=4, LOCK_SH=1, LOCK_UN=8),
}


def test_who_comes_first_holds_the_lock_and_who_comes_later_waits_and_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def wait() -> bool:
        with held_or_awaited(path) as held:
            return held

    with ThreadPoolExecutor(4) as pool:
        with held_or_awaited(path) as held:
            assert held
            with pytest.raises(Timeout):
                FileLock(path).acquire(blocking=False)
            waiting = [pool.submit(wait) for _ in range(4)]
            assert not any(each.done() for each in waiting)
        found = [each.result() for each in waiting]
    assert len(found) == 4  # each was woken; one that came after the end may have held it
    FileLock(path).acquire(blocking=False).lock.release()


def test_a_copy_of_the_descriptor_in_a_forked_child_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []
    close = os.close

    def closing(descriptor: int) -> None:
        copies.append(os.dup(descriptor))
        close(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", closing)
        with held_or_awaited(tmp_path / "lock") as held:
            assert held
    FileLock(tmp_path / "lock").acquire(blocking=False).lock.release()
    assert len(copies) == 1
    close(copies[0])


@pytest.mark.parametrize("system", WITHOUT)
def test_where_the_kernel_cannot_lock_the_library_does(
    make_wheel: Callable[..., Path], store: Store, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr(locking, "fcntl", WITHOUT[system])
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 1"})
    with ThreadPoolExecutor(4) as pool:
        found = {entry.identifier for entry in pool.map(store.add, [[wheel]] * 4)}
    assert len(found) == len(store.entries()) == 1
    store.remove(store.entries()[0])
    assert store.entries() == []
