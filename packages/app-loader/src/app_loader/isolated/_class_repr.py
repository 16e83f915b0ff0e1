"""Classes whose `repr` says the version, for those who ask for it: `MPT_CLASS_REPR=1`.

Only its metaclass can change what the `repr` of a class is, and a class with a metaclass of ours cannot be mixed with
one of another metaclass by code that is not isolated. So classes are Python's own unless the variable is set, which is
for looking at versions side by side and not for serving. Nothing else about a class changes: the metaclass has a
`__repr__` and no more.
"""

from __future__ import annotations

__all__ = ["CLASS_REPR_VARIABLE", "VersionedType", "is_asked_for", "make_build_class"]

import builtins
import os
import types
from abc import ABCMeta
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from policy_interface.origin import origin_of

CLASS_REPR_VARIABLE = "MPT_CLASS_REPR"


class VersionedType(type):
    """The metaclass of an isolated class: it says where the class comes from, as its origin does."""

    def __repr__(cls) -> str:
        origin = origin_of(cls)
        return f"<class {origin}>" if origin.digest else super().__repr__()


def is_asked_for() -> bool:
    """Whether classes shall say their version."""
    return os.environ.get(CLASS_REPR_VARIABLE, "0") not in ("", "0")


def make_build_class() -> Callable[..., Any]:
    """Return what a unit's `class` statements run: Python's own, with a metaclass that says the version."""

    def __build_class__(function: Callable[..., Any], name: str, /, *bases: Any, **keywords: Any) -> Any:
        chosen = _choose(bases, keywords.get("metaclass"))
        if chosen is not None:
            keywords["metaclass"] = chosen
        return builtins.__build_class__(function, name, *bases, **keywords)

    return __build_class__


def _choose(bases: tuple[Any, ...], given: Any) -> type | None:
    """The metaclass for a class of these bases and of the metaclass that its statement names, if it names one.

    None where Python's own choice is right: a metaclass of its own, or something that Python refuses.
    """
    if given is not None and not isinstance(given, type):
        return None
    kinds = [type(base) for base in types.resolve_bases(bases)]
    winner: type = given or type
    for kind in map(_without_version, kinds):
        if issubclass(kind, winner):
            winner = kind
        elif not issubclass(winner, kind):
            return None
    if winner in _PLAIN or any(issubclass(kind, VersionedType) for kind in kinds):
        return _join(winner)
    return None


_PLAIN = frozenset({type, ABCMeta, type(Protocol)})
"""What a class has that names no metaclass. Code that has others calls and combines them, and they stay if they may."""

_JOINED: dict[type, type] = {VersionedType: type}
"""A metaclass that says the version -> the one that it was made of."""


def _without_version(kind: type) -> type:
    return _JOINED.get(kind, kind)


@cache
def _join(kind: type) -> type:
    """A metaclass that is `kind`, and says the version where `kind` has no `repr` of its own.

    It derives from what its bases are joined to, so that a class of it may derive from a class of theirs.
    """
    if kind is type:
        return VersionedType
    bases = [_join(base) for base in kind.__bases__ if issubclass(base, type)]
    joined = type(kind)(kind.__name__, (kind, *bases), {"__module__": kind.__module__})
    _JOINED[joined] = kind
    return joined
