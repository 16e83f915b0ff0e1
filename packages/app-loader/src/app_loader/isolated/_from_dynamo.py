"""Letting Dynamo call functions instead of following them, without importing it before somebody compiles.

Dynamo takes seconds to import. What it must not follow is marked at once, which needs no import, and made known to it
when it is imported: until then it cannot follow anything.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_DECORATORS = "torch._dynamo.decorators"
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
        if _DECORATORS not in sys.modules and _awaiting not in sys.meta_path:
            sys.meta_path.insert(0, _awaiting)
    if _DECORATORS in sys.modules:
        _make_known(importlib.import_module(_DECORATORS))  # which waits for a thread that is importing it


def _make_known(decorators: ModuleType) -> None:
    with _lock:
        functions = [*_waiting]
        _waiting.clear()
    for function in functions:
        decorators.skip(function)


class _Awaiting(MetaPathFinder):
    """Finds nothing itself: it lets the others find Dynamo, and leaves when that has been imported.

    To be asked is not enough: `importlib.util.find_spec` asks, and imports nothing.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _DECORATORS:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            with _lock:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
            _make_known(module)

        loader.exec_module = exec_module
        return spec


_awaiting = _Awaiting()
