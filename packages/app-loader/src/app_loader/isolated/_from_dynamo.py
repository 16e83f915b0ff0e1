"""Letting Dynamo call functions instead of following them, without importing it before somebody compiles.

Dynamo takes seconds to import. What it must not follow is marked at once, which needs no import, and made known to it
when it is imported, which the finder of isolated modules sees: until then it cannot follow anything.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

DECORATORS = "torch._dynamo.decorators"
"""The module of Dynamo's that has to be told."""
_lock = threading.Lock()
_waiting: list[Callable[..., Any]] = []


def keep_from_dynamo(*functions: Callable[..., Any], because: str) -> None:
    """Let Dynamo call functions as they are, and follow what they call.

    Args:
        functions: made by Python.
        because: what a compiler that needs the whole program at once says.
    """
    for function in functions:
        vars(function)["_torchdynamo_disable"] = True
        vars(function)["_torchdynamo_disable_msg"] = because
    with _lock:
        _waiting.extend(functions)
    if DECORATORS in sys.modules:
        _make_known(importlib.import_module(DECORATORS))  # which waits for a thread that is importing it


def _make_known(decorators: ModuleType) -> None:
    with _lock:
        functions = [*_waiting]
        _waiting.clear()
    for function in functions:
        decorators.skip(function)


def find_dynamo(path: Sequence[str] | None, target: ModuleType | None, finders: Sequence[Any]) -> ModuleSpec | None:
    """Return what finders find of the module that is waited for, which is told of the functions once it has run.

    To be asked is not enough: who looks a module up need not import it.
    """
    found = (finder.find_spec(DECORATORS, path, target) for finder in finders)
    spec: ModuleSpec | None = next(filter(None, found), None)
    if spec is None or spec.loader is None:
        return spec
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _make_known(module)

    loader.exec_module = exec_module
    return spec
