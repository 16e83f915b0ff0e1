"""The net below the rewriting: `__import__` of isolated code, for imports in executed text and for calls by name."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from app_loader.isolated._targets import ATTRIBUTES, WHOLE
from app_loader.isolated._unit import Unit


def target_name(unit: Unit, name: str) -> str:
    """Return the name to import when isolated code asks for `name`: its own module, a shim, or the name as it is."""
    if unit.owns(name):
        return f"{unit.prefix}.{name}"
    if name in WHOLE:
        return unit.shim_name(name)
    return name


def import_target(unit: Unit, name: str) -> ModuleType:
    """Import what isolated code means by a name."""
    try:
        return importlib.import_module(target_name(unit, name))
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] or not unit.look_again(error.name):
            raise
    return importlib.import_module(target_name(unit, name))


def make_import(unit: Unit) -> Callable[..., Any]:
    """Return the unit's `__import__`."""
    roots = unit.owned.roots
    shimmed = frozenset(name.partition(".")[0] for name in WHOLE)
    redirected: dict[str, set[str]] = {}
    for dotted in ATTRIBUTES:
        parent, _, attribute = dotted.rpartition(".")
        if not unit.owns(dotted):
            redirected.setdefault(parent, set()).add(attribute)

    def __import__(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0:
            if fromlist and name in redirected and not redirected[name].isdisjoint(fromlist):
                shim = ATTRIBUTES[f"{name}.{next(iter(redirected[name]))}"]  # from torch import nn, ops
                return importlib.import_module(unit.shim_name(shim))
            if fromlist and name in ATTRIBUTES and not unit.owns(name):  # from torch.library import custom_op
                return importlib.import_module(unit.shim_name(name))
            root = name.partition(".")[0]
            if root in roots or root in shimmed or name in unit.dynamic or root in unit.added:
                target = target_name(unit, name)
                if target != name:
                    if fromlist:
                        return builtins.__import__(target, globals, locals, fromlist, 0)
                    importlib.import_module(target)
                    return importlib.import_module(target_name(unit, root))
                if root in roots and not fromlist:  # another distribution's part of a namespace package
                    builtins.__import__(name, globals, locals, fromlist, 0)
                    return importlib.import_module(target_name(unit, root))
        try:
            return builtins.__import__(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            if level or error.name != name.partition(".")[0] or not unit.look_again(error.name):
                raise
        return __import__(name, globals, locals, fromlist)

    return __import__
