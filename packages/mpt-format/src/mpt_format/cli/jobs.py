"""One function for many files, in several processes: answers in the order of the files, few of them waiting at once.

A process that dies, as the system ends one that takes too much memory, loses no file but its own: the files that were
being read then are read again one at a time, and the one that ends its process again is named. Ctrl-C ends the workers
without a word. Imported only where there are several jobs: the machinery takes a tenth of the time of a whole command.
"""

from __future__ import annotations

__all__ = ["do_in_processes"]

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import get_context
from typing import TypeVar

from mpt_format.errors import AuditError, escape_text

Answer = TypeVar("Answer")

_MOST_JOBS = 61
"""Windows cannot wait for more processes."""
_TOGETHER = 16
"""Files that are sent to a process at a time; a message takes as long as a tenth of a small file."""
_WAITING = 8
"""So many times as many messages as processes are under way, so that a slow file does not stop the others."""


def do_in_processes(
    names: Sequence[str], do: Callable[[str], Answer], jobs: int
) -> Generator[Answer | AuditError, None, None]:
    """What a function says to each name, or the error that it raises, in their order; it is sent to other processes."""
    jobs = min(jobs, _MOST_JOBS)
    together = max(1, min(_TOGETHER, len(names) // (4 * jobs)))
    done = 0
    while done < len(names):
        try:
            with closing(_do_while_none_dies(names[done:], do, jobs, together)) as outcomes:
                for outcome in outcomes:
                    done += 1
                    yield outcome
        except BrokenProcessPool:
            for outcome in _do_alone(names[done : done + jobs * _WAITING * together], do):
                done += 1
                yield outcome


def _do_while_none_dies(
    names: Sequence[str], do: Callable[[str], Answer], jobs: int, together: int
) -> Generator[Answer | AuditError, None, None]:
    parts = iter([names[at : at + together] for at in range(0, len(names), together)])
    try:
        pool = _start(jobs)
    except (ImportError, NotImplementedError, OSError):  # a machine without semaphores: this process does it
        yield from (_attempt(do, name) for name in names)
        return
    try:
        under_way: deque[Future[list[Answer | AuditError]]] = deque()
        while True:
            while len(under_way) < jobs * _WAITING and (part := next(parts, None)):
                with _interrupts_held():
                    under_way.append(pool.submit(_attempt_each, do, part))
            if not under_way:
                return
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _do_alone(names: Sequence[str], do: Callable[[str], Answer]) -> Generator[Answer | AuditError, None, None]:
    """One file after the other in a process of their own, and an error for each that ends it."""
    pool = _start(1)
    try:
        for name in names:
            try:
                with _interrupts_held():
                    answer = pool.submit(_attempt, do, name)
                yield answer.result()
            except BrokenProcessPool:
                yield AuditError(
                    f"{escape_text(name)} cannot be audited: the process that read it was ended, perhaps for want of "
                    "memory; `--max-opcodes 1000000` reads less of it"
                )
                pool.shutdown()
                pool = _start(1)
    finally:
        pool.shutdown(cancel_futures=True)


def _start(jobs: int) -> ProcessPoolExecutor:
    # not forked: whoever calls the command from a program may have threads, as torch does
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_die_of_interrupts)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while a process may be started, so that it is not hit in the middle of its imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_of_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal: a worker ends there, and only the first process says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _attempt_each(do: Callable[[str], Answer], names: Sequence[str]) -> list[Answer | AuditError]:
    return [_attempt(do, name) for name in names]


def _attempt(do: Callable[[str], Answer], name: str) -> Answer | AuditError:
    try:
        return do(name)
    except AuditError as error:
        return error
