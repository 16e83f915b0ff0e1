"""One thread at a time enters a unit from outside, and none waits for another that waits for it.

Where two threads enter a cycle of modules from two sides, CPython lets one of them fail or see a half-made module. So
the second waits outside until the first has left. Where that could not end, since the threads inside wait, one for the
other, to enter what it is inside of itself, all of them go in at once, and CPython's locks of modules decide, as they
do for plain imports. Other waits cannot be seen (a module that joins a thread which enters the very unit that is being
imported); they end when patience does. The units' own imports do not come by here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator

_PATIENCE_S = 60.0
"""How long a thread waits for others to leave a unit, after which it goes in as it would with a plain import."""
_PATIENCE_FOR_PRESENT_S = 5.0
"""How long a thread waits where what it asks for is imported, but modules that belong to it may not be."""
_changed = threading.Condition()
_entrances: weakref.WeakSet[Entrance] = weakref.WeakSet()
_log = logging.getLogger("app_loader.isolated")


class Entrance:
    """The way into one unit.

    Attributes:
        subject: the unit, for people.
        inside: the threads inside, by identifier, once for each time they entered.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.inside: list[int] = []
        _entrances.add(self)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Wait for other threads to leave, and be inside during a block."""
        thread = threading.get_ident()
        with _changed:
            alone = not self._others(thread) or self._waited(thread)
            self.inside.append(thread)
            if not alone:  # it still depends on those inside, through the locks of their modules
                _awaited[thread].append(self)
                _changed.notify_all()
        try:
            yield
        finally:
            with _changed:
                self.inside.remove(thread)
                if not alone:
                    _awaits_no_longer(thread, self)
                _changed.notify_all()

    def let_others_leave(self) -> None:
        """Wait a while for a thread inside, which may be importing the other half of a cycle of modules.

        Not for long: it may be one that waits for this thread, which is nothing that could be seen.
        """
        thread = threading.get_ident()
        if not self.inside or thread in self.inside:
            return
        with _changed:
            if self._others(thread):
                self._wait(thread, _PATIENCE_FOR_PRESENT_S)

    def _others(self, thread: int) -> bool:
        return any(other != thread for other in self.inside)

    def _waited(self, thread: int) -> bool:
        """Wait, and return whether the others have left; they have not where waiting would not end."""
        if not self._wait(thread, _PATIENCE_S):
            text = "another thread has not ended importing %s in %g s; entering it all the same"
            _log.warning(text, self.subject, _PATIENCE_S)
        return not self._others(thread)

    def _wait(self, thread: int, patience_s: float) -> bool:
        """Wait until the others have left or waiting would not end, and return whether it is one of these."""
        _awaited[thread].append(self)
        try:
            return _changed.wait_for(
                lambda: not self._others(thread) or _waits_for_itself(thread, self), timeout=patience_s
            )
        finally:
            _awaits_no_longer(thread, self)


_awaited: defaultdict[int, list[Entrance]] = defaultdict(list)
"""What each thread waits to enter, or has entered without others having left."""


def _keep_own_thread() -> None:
    """In a child that was forked: the other threads are not there, and hold nothing any more."""
    global _changed
    _changed = threading.Condition()
    own = threading.get_ident()
    for entrance in _entrances:
        entrance.inside[:] = [thread for thread in entrance.inside if thread == own]
    for thread in _awaited.keys() - {own}:
        del _awaited[thread]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_own_thread)


def _awaits_no_longer(thread: int, entrance: Entrance) -> None:
    _awaited[thread].remove(entrance)
    if not _awaited[thread]:
        del _awaited[thread]


def _waits_for_itself(thread: int, wanted: Entrance) -> bool:
    """Whether a thread inside of what is wanted waits, directly or through others, for this thread to leave."""
    seen = {thread}
    pending = [wanted]
    while pending:
        for other in pending.pop().inside:
            if other not in seen:
                seen.add(other)
                further = _awaited.get(other, [])
                if any(thread in entrance.inside for entrance in further):
                    return True
                pending += further
    return False
