"""One entry of a shared table for which several units registered different functions: each unit calls its own.

The table gets one function, which asks at each call whose code is nearest on the stack. Where no unit's code is on the
stack, it refuses to guess: an error is better than another version's number.

A function of a shared module that units wrap (`torch.compile = capturing(torch.compile)`) is kept per unit in the same
way; each wraps the function that was there before any of them, and that is what everybody else calls.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

from app_loader.errors import RegistrationConflictError
from app_loader.isolated._names import PREFIX
from app_loader.isolated._unit import Unit

_ATTRIBUTE = "_mpt_contested"
_lock = threading.Lock()


class Contested:
    """The functions of one entry, by unit.

    Attributes:
        table: the table's name.
        name: the entry's name.
        own: the function of each unit.
        function: what stands in the table.
        plain: what code of no unit calls, None to refuse it.
    """

    def __init__(self, table: str, name: str, plain: Any = None) -> None:
        self.table = table
        self.name = name
        self.plain: Callable[..., Any] | None = plain
        self.own: dict[str, tuple[Unit, Callable[..., Any]]] = {}

        def contested(*arguments: Any, **options: Any) -> Any:
            return self.choose()(*arguments, **options)

        if plain is not None:
            functools.update_wrapper(contested, plain)
        setattr(contested, _ATTRIBUTE, self)
        self.function: Any = contested

    def add(self, unit: Unit, function: Callable[..., Any]) -> None:
        """Give a unit its function."""
        with _lock:
            self.own[unit.identifier] = (unit, function)

    def remove(self, unit: Unit) -> None:
        """Forget a unit's function."""
        with _lock:
            self.own.pop(unit.identifier, None)

    def choose(self) -> Callable[..., Any]:
        """Return the function of the unit whose code is nearest on the stack.

        Raises:
            RegistrationConflictError: no such code is on the stack, and more than one unit has a function.
        """
        frame: Any = sys._getframe(2)
        while frame is not None:
            module = frame.f_globals.get("__name__")
            if isinstance(module, str) and module.startswith(PREFIX):
                found = self.own.get(module[len(PREFIX) :].partition(".")[0])
                if found is not None:
                    return found[1]
            frame = frame.f_back
        if self.plain is not None:
            return self.plain
        units = [unit for unit, _ in self.own.values()]
        if len(units) == 1:
            return self.own[units[0].identifier][1]
        raise RegistrationConflictError(
            "code that belongs to no version",
            table=self.table,
            name=self.name,
            holder=" and ".join(f"{unit.distribution} {unit.version}" for unit in units),
        )


def contested(value: Any) -> Contested | None:
    """Return the contest that a value of a table stands for, None for an ordinary value."""
    found = getattr(value, _ATTRIBUTE, None) if isinstance(value, FunctionType) else None
    return found if isinstance(found, Contested) else None


def rewrap(function: Any, found: Any, original: Any) -> bool:
    """Let a function that wraps what it found wrap the original instead; return whether it wraps it at all.

    A function holds what it wraps in its closure, its defaults, or a global that it names.
    """
    if not isinstance(function, FunctionType):
        return False
    wraps = False
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            if cell.cell_contents is found:
                cell.cell_contents, wraps = original, True
    if function.__defaults__ and any(value is found for value in function.__defaults__):
        function.__defaults__ = tuple(original if value is found else value for value in function.__defaults__)
        wraps = True
    for name in function.__code__.co_names:
        if function.__globals__.get(name) is found:
            function.__globals__[name], wraps = original, True
    return wraps
