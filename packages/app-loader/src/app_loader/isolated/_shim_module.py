"""A module that stands for a shared one and overrides some of its names; all else is the shared module's own.

Writes go through to the shared module too, so that isolated code which sets a hook there does what it meant.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_IMPORT_STATE = frozenset({"__name__", "__spec__", "__loader__", "__package__", "__path__", "__file__", "__cached__"})


class ShimModule(ModuleType):
    """A stand-in for the shared module `real_name` in one unit."""

    def __init__(self, name: str, real_name: str, overrides: Mapping[str, Any]) -> None:
        super().__init__(name)
        vars(self).update(overrides)
        vars(self)["_real_name"] = real_name

    def __call__(self, *_: Any) -> None:
        """Refuse, as a module does. It exists because Dynamo takes only callables from a builtins dict."""
        raise TypeError("'module' object is not callable")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: picklers of functions write the modules that a function's globals hold."""
        return importlib.import_module, (self.__name__,)

    def __getattr__(self, name: str) -> Any:
        if name in ("__path__", "__file__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(vars(self)["_real_name"]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _IMPORT_STATE or name in vars(self) or isinstance(value, ShimModule):
            super().__setattr__(name, value)
        else:
            setattr(importlib.import_module(vars(self)["_real_name"]), name, value)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(vars(self)["_real_name"]))
