"""Helpers: what rewritten code names without importing it, such as the unit's view of `torch.ops`.

They stand in the unit's builtins, so that a module's own names stay exactly those that its source makes. They stand
among everybody's builtins too, under names that carry the unit's identifier: where torch's compiler starts in shared
code (`Sequential.forward`) and steps into a unit's function, it looks that function's builtins up among those of the
start.
"""

from __future__ import annotations

import builtins
from types import CodeType, FunctionType
from typing import Any

from app_loader.isolated._targets import HELPER_MARK

_MARK = HELPER_MARK.decode()


def helper_of(identifier: str, name: str) -> str:
    """Return what a helper is called in the code of one unit.

    Example:
        >>> helper_of("zoo__1_0__3f9c2a1b", "__mpt_write__")
        '__mpt_zoo__1_0__3f9c2a1b_write__'
    """
    return f"{_MARK}{identifier}_{name[len(_MARK) :]}"


def own_helpers(code: CodeType, identifier: str) -> CodeType:
    """Return code in which every helper has the name that it has in one unit."""
    constants = tuple(own_helpers(each, identifier) if isinstance(each, CodeType) else each for each in code.co_consts)
    names = tuple(helper_of(identifier, name) if name.startswith(_MARK) else name for name in code.co_names)
    if names == code.co_names and all(map(_is, constants, code.co_consts)):
        return code
    return code.replace(co_names=names, co_consts=constants)


def supply(unit_builtins: dict[str, Any], name: str, helper: Any) -> None:
    """Put a helper into a unit's builtins, and among everybody's."""
    unit_builtins[name] = vars(builtins)[name] = helper


def name_after(function: Any, module: str, name: str) -> Any:
    """Return a function that pickles by name, as one of a module that stands for a shared one in a unit."""
    if isinstance(function, FunctionType):
        function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


def withdraw(identifier: str) -> None:
    """Take a unit's helpers out of everybody's builtins; its own code keeps them."""
    start = helper_of(identifier, _MARK)
    for name in [name for name in vars(builtins) if name.startswith(start)]:
        del vars(builtins)[name]


def _is(one: Any, other: Any) -> bool:
    return one is other
