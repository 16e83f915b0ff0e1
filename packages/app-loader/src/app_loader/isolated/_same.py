"""Whether two versions would put the same thing under one name: functions by what they compute, not by who made them.

Two functions are the same when their bytecode, constants, defaults and closures are, and so is everything their globals
give to the names they use. Whatever cannot be compared within a budget counts as different: a doubt is a difference.
"""

from __future__ import annotations

import functools
import re
import sys
import threading
import weakref
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence, Set
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from app_loader.isolated._names import PREFIX, original_name

_BUDGET = 2000
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_STATE = (
    *(type(threading.Lock()), type(threading.RLock()), type(vars(ABC)["_abc_impl"])),
    *(weakref.WeakValueDictionary, weakref.WeakKeyDictionary, weakref.WeakSet),
)
"""What a definition keeps of its use: it says nothing of what is defined."""
_UNIT = re.compile(re.escape(PREFIX) + r"\w+?\.")
_IGNORED = frozenset(
    {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__"}
    | {"__annotate__", "__annotate_func__", "__annotations_cache__"}
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same content, each in its own version."""
    return _Comparison().same(one, other)


class _Comparison:
    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def same(self, one: Any, other: Any) -> bool:
        if one is other:
            return True
        if type(one) is not type(other) and not (isinstance(one, type) and isinstance(other, type)):
            return self._same_instances(one, other) if _original_type(one) == _original_type(other) else False
        if isinstance(one, _PLAIN):
            return bool(_neutral(one) == _neutral(other))
        if (id(one), id(other)) in self._seen:
            return True  # a cycle: decided by the rest of it
        if len(self._seen) > _BUDGET:
            return False
        self._seen.add((id(one), id(other)))
        return self._same_things(one, other)

    def _same_things(self, one: Any, other: Any) -> bool:
        if isinstance(one, _STATE):
            return True
        if isinstance(one, FunctionType):
            return self._same_functions(one, other)
        if isinstance(one, staticmethod | classmethod | MethodType):
            bound = not isinstance(one, MethodType) or self.same(one.__self__, other.__self__)
            return bound and self.same(one.__func__, other.__func__)
        if isinstance(one, property):
            return all(self.same(getattr(one, f), getattr(other, f)) for f in ("fget", "fset", "fdel"))
        if isinstance(one, functools.partial):
            return all(self.same(getattr(one, part), getattr(other, part)) for part in ("func", "args", "keywords"))
        if isinstance(one, BuiltinFunctionType):
            return bool(one == other)
        if isinstance(one, type | ModuleType):
            return self._same_definitions(one, other)
        if isinstance(one, Mapping):
            return one.keys() == other.keys() and all(self.same(one[key], other[key]) for key in one)
        if isinstance(one, Set):
            return bool(one == other)
        if isinstance(one, Sequence):
            return len(one) == len(other) and all(map(self.same, one, other))
        return self._same_instances(one, other)

    def _same_functions(self, one: FunctionType, other: FunctionType) -> bool:
        return (
            self._same_code(one.__code__, other.__code__)
            and self.same(one.__defaults__, other.__defaults__)
            and self.same(one.__kwdefaults__, other.__kwdefaults__)
            and all(map(self.same, _cells(one), _cells(other)))
            and all(self.same(one.__globals__.get(name), other.__globals__.get(name)) for name in _names(one.__code__))
        )

    def _same_code(self, one: CodeType, other: CodeType) -> bool:
        if (one.co_code, one.co_flags, len(one.co_consts)) != (other.co_code, other.co_flags, len(other.co_consts)):
            return False
        if one.co_varnames != other.co_varnames or one.co_freevars != other.co_freevars:
            return False
        if tuple(map(_neutral, one.co_names)) != tuple(map(_neutral, other.co_names)):
            return False
        for name, twin in zip(one.co_names, other.co_names, strict=True):  # modules that are imported inside
            if name != twin and not self.same(sys.modules.get(name), sys.modules.get(twin)):
                return False
        return all(map(self._same_constant, one.co_consts, other.co_consts))

    def _same_constant(self, one: Any, other: Any) -> bool:
        if isinstance(one, CodeType) and isinstance(other, CodeType):
            return self._same_code(one, other)
        return self.same(one, other)

    def _same_definitions(self, one: Any, other: Any) -> bool:
        """Classes and modules: only those of two units can be the same without being one object."""
        mine, theirs = _full_name(one), _full_name(other)
        if not mine.startswith(PREFIX) or not theirs.startswith(PREFIX) or _neutral(mine) != _neutral(theirs):
            return False
        if isinstance(one, type) and not all(map(self.same, one.__bases__, other.__bases__)):
            return False
        names = {name for name in vars(one) if not _passing(one, name)}
        if names != {name for name in vars(other) if not _passing(other, name)}:
            return False
        return all(self.same(vars(one)[name], vars(other)[name]) for name in names)

    def _same_instances(self, one: Any, other: Any) -> bool:
        if hasattr(type(one), "__slots__") or not hasattr(one, "__dict__") or not hasattr(other, "__dict__"):
            return False
        return self.same(type(one), type(other)) and self.same(vars(one), vars(other))


def _passing(owner: Any, name: str) -> bool:
    """Whether a name says where a definition comes from and not what it is."""
    return name in _IGNORED or (isinstance(owner, ModuleType) and name.startswith("__"))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _cells(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True


def _full_name(definition: Any) -> str:
    if isinstance(definition, ModuleType):
        return definition.__name__
    return f"{definition.__module__}.{definition.__qualname__}"


def _original_type(value: Any) -> tuple[str, str]:
    return original_name(str(type(value).__module__)), type(value).__qualname__


def _neutral(value: Any) -> Any:
    return _UNIT.sub("", value) if isinstance(value, str) and PREFIX in value else value
