"""Unloading a unit, and an honest account of what stays: Python frees what nothing holds, and nothing else.

After `torch.compile` Dynamo's guards hold modules; registered operators, pytree nodes and your own variables hold
classes. Nothing is torn out of them here.
"""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from app_loader.isolated._helpers import withdraw
from app_loader.isolated._names import PACKAGE
from app_loader.isolated._unit import Unit
from app_loader.isolated._units import forget_unit
from app_loader.isolated.shims import paths
from app_loader.isolated.shims.datapipes import forget_routes

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StillAlive:
    """One class or function that something holds.

    Attributes:
        name: its original module and qualified name.
        held_by: what holds it, in words; empty where only other survivors of the unit do.
    """

    name: str
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadReport:
    """What unloading did.

    Attributes:
        modules: how many modules were taken out of `sys.modules`.
        freed: how many of their classes and functions are gone.
        alive: those that are not, with their holders.
    """

    modules: int
    freed: int
    alive: tuple[StillAlive, ...]


def unload(unit: Unit) -> UnloadReport:
    """Take a unit out of this process and report what is still held.

    Objects that exist keep working; its isolated name is importable again as soon as it is asked for.
    """
    prefix = unit.prefix
    names = [name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")]
    watched = [each for name in names for each in _definitions(unit, name, sys.modules.pop(name))]
    vars(sys.modules[PACKAGE]).pop(unit.identifier, None)
    forget_unit(unit.identifier)
    withdraw(unit.identifier)
    forget_routes(unit)
    paths.withdraw(unit)
    ledger = sys.modules.get(f"{PACKAGE}._ledger")  # without it, no unit of this process wrote anything shared
    if ledger is not None:
        ledger.withdraw(unit)
    unit.shims.clear()
    gc.collect()
    alive = [(name, reference) for name, reference in watched if reference() is not None]
    survivors = {id(reference()) for _, reference in alive}
    return UnloadReport(
        modules=len(names),
        freed=len(watched) - len(alive),
        alive=tuple(StillAlive(name=name, held_by=_holders(reference(), unit, survivors)) for name, reference in alive),
    )


def _definitions(unit: Unit, name: str, module: ModuleType) -> list[tuple[str, weakref.ref[Any]]]:
    return [
        (f"{unit.original_name(name)}.{value.__qualname__}", weakref.ref(value))
        for value in list(vars(module).values())
        if isinstance(value, type | FunctionType) and value.__module__ == name
    ]


def _holders(subject: Any, unit: Unit, survivors: set[int]) -> tuple[str, ...]:
    found: list[str] = []
    for referrer in gc.get_referrers(subject):
        text = _describe(referrer, subject, unit, survivors)
        if text and text not in found:
            found.append(text)
    return tuple(found[:_SHOWN])


def _describe(referrer: Any, subject: Any, unit: Unit, survivors: set[int]) -> str:
    if id(referrer) in survivors or type(referrer).__name__ in (
        "frame",
        "getset_descriptor",
        "weakref",
        "ReferenceType",
    ):
        return ""
    if isinstance(referrer, dict):
        name = referrer.get("__name__")
        if isinstance(name, str) and "__builtins__" in referrer:
            return _dynamo_that_holds(referrer) if name.startswith(unit.prefix) else f"module {name}"
        return _dynamo_that_holds(referrer) or "a dict"
    if isinstance(referrer, tuple) and subject in getattr(subject, "__mro__", ()):
        return ""
    kind = type(referrer)
    if kind.__module__ == "builtins":
        return f"a {kind.__name__}"
    return f"an object of {kind.__module__}.{kind.__qualname__}"


def _dynamo_that_holds(held: dict[Any, Any]) -> str:
    """Return Dynamo's part, where it holds a table of attributes or, to clean up later, the names of a module."""
    for owner in gc.get_referrers(held):
        if type(owner).__module__.startswith(("torch._dynamo", "torch._C._dynamo")):
            return "Dynamo's guards (torch._dynamo.reset() frees them)"
    return ""
