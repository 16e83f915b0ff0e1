"""The tables that a registering function can reach: what it is bound to, what it closes over, what its globals name.

Nothing is known here of any library. A function that registers must name its table, so the names in its bytecode lead
to it; they are followed a few calls deep. Tables of C code cannot be reached this way.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_DEPTH = 4
_CONTAINERS = 400
"""More tables than this are not compared: a function that names them all does more than register."""


@dataclass(slots=True)
class Table:
    """A dictionary as it was.

    Attributes:
        label: its name, for people.
        content: the dictionary.
        before: a copy of what it held.
    """

    label: str
    content: dict[Any, Any]
    before: dict[Any, Any]

    def changed(self) -> list[tuple[Hashable, Any, Any]]:
        """Return (key, before, after) of every entry that is another now; `Absent` marks none."""
        return [
            (key, self.before.get(key, Absent), value)
            for key, value in list(self.content.items())
            if self.before.get(key, Absent) is not value
        ]


class Absent:
    """Marks the absence of an entry."""


def tables_of(called: Any, arguments: tuple[Any, ...]) -> list[Table]:
    """Return the tables that calling something could write to, as they are now."""
    walk = _Walk()
    walk.into(called, _DEPTH)
    for argument in arguments:
        if isinstance(argument, type):
            walk.attributes(argument, _DEPTH)
    return list(walk.tables.values())


class _Walk:
    def __init__(self) -> None:
        self.tables: dict[int, Table] = {}
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # bound methods are made anew at each look: their ids must not be given out again

    def into(self, called: Any, depth: int) -> None:
        if depth == 0 or id(called) in self._seen:
            return
        self._seen.add(id(called))
        self._kept.append(called)
        if isinstance(called, MethodType) or (
            not isinstance(called, type | FunctionType) and getattr(called, "__self__", None) is not None
        ):
            self.value(_label(called.__self__), called.__self__, frozenset(_names_of(called)), depth)
            self.attributes(called.__self__, depth)
            if isinstance(called, MethodType):
                self.into(called.__func__, depth)
        elif isinstance(called, functools.partial):
            self.into(called.func, depth)
        elif isinstance(called, FunctionType):
            self._function(called, depth)
        elif isinstance(called, type):
            for name in ("__init__", "__new__", "__call__"):
                self.into(vars(called).get(name), depth)
        elif hasattr(called, "__dict__"):
            self.attributes(called, depth)
            self.into(
                next((vars(each)["__call__"] for each in _bases(called) if "__call__" in vars(each)), None), depth
            )

    def _function(self, function: FunctionType, depth: int) -> None:
        names = frozenset(_names_of(function))
        module = function.__module__
        for name in names:
            if name in function.__globals__:
                self.value(f"{module}.{name}", function.__globals__[name], names, depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                inner = cell.cell_contents
            except ValueError:
                continue
            self.value(f"{module}.{function.__qualname__}.{name}", inner, names, depth)

    def value(self, label: str, value: Any, names: frozenset[str], depth: int) -> None:
        """Look at what a name stands for."""
        if isinstance(value, dict):
            self.table(label, value)
        elif isinstance(value, FunctionType | MethodType | functools.partial):
            self.into(value, depth - 1)
        elif isinstance(value, ModuleType):
            for name in names & vars(value).keys():
                if not isinstance(vars(value)[name], ModuleType):
                    self.value(f"{value.__name__}.{name}", vars(value)[name], names, depth - 1)
        elif depth > 0 and (isinstance(value, type) or hasattr(value, "__dict__")):
            self.attributes(value, depth)
            for name in names:
                method = next((vars(k)[name] for k in _bases(value) if name in vars(k)), None)
                if isinstance(method, classmethod | staticmethod):
                    method = method.__func__
                if isinstance(method, FunctionType):
                    self.into(method, depth - 1)

    def attributes(self, owner: Any, depth: int) -> None:
        """Look at the dictionaries that a class (with its bases) or an object holds as attributes."""
        holders = [*_bases(owner), *([] if isinstance(owner, type) else [owner])]
        for holder in holders:
            for name, value in list(getattr(holder, "__dict__", {}).items()):
                if isinstance(value, dict) and name != "__annotations__":
                    self.table(f"{_label(owner)}.{name}", value)

    def table(self, label: str, content: dict[Any, Any]) -> None:
        """Remember a dictionary, unless it is the names of a module."""
        if id(content) not in self.tables and "__builtins__" not in content and len(self.tables) < _CONTAINERS:
            self.tables[id(content)] = Table(label, content, dict(content))


def _bases(value: Any) -> Iterator[type]:
    kind = value if isinstance(value, type) else type(value)
    return (each for each in kind.__mro__ if each is not object)


def _names_of(called: Any) -> Iterator[str]:
    code = getattr(getattr(called, "__func__", called), "__code__", None)
    if code is not None:
        yield from _code_names(code)


def _code_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _code_names(const)


def _label(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
