"""`importlib.resources` and `pkg_resources` as isolated code sees them: data of its own version."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from app_loader.isolated._unit import Unit
from app_loader.isolated.shims.imports import as_module

_ANCHORED = ("open_text", "open_binary", "read_text", "read_binary", "path", "contents", "is_resource")
_PACKAGED = (
    "resource_filename",
    "resource_string",
    "resource_stream",
    "resource_exists",
    "resource_listdir",
    "resource_isdir",
)


def overrides(unit: Unit, real_name: str) -> dict[str, Any]:
    """Return the functions of `importlib.resources` (or its backport) that take a package by name."""

    def forwarded(name: str) -> Callable[..., Any]:
        def function(anchor: Any, *arguments: Any, **options: Any) -> Any:
            real = getattr(importlib.import_module(real_name), name)
            return real(as_module(unit, anchor), *arguments, **options)

        function.__name__ = name
        return function

    def files(anchor: Any = None, package: Any = None) -> Any:
        anchor = anchor if anchor is not None else package
        if anchor is None:  # the calling module's own package, as Python 3.12 has it
            caller = sys._getframe(1).f_globals
            anchor = caller.get("__package__") or caller["__name__"]
        return importlib.import_module(real_name).files(as_module(unit, anchor))

    return {**{name: forwarded(name) for name in _ANCHORED}, "files": files}


def pkg_resources_overrides(unit: Unit) -> dict[str, Any]:
    """Return the functions of `pkg_resources` that take a package or a distribution by name."""

    def forwarded(name: str) -> Callable[..., Any]:
        def function(package: Any, *arguments: Any, **options: Any) -> Any:
            real = getattr(importlib.import_module("pkg_resources"), name)
            if isinstance(package, str) and unit.owns(package):
                package = as_module(unit, package).__name__
            return real(package, *arguments, **options)

        function.__name__ = name
        return function

    def get_distribution(dist: Any) -> Any:
        metadata = importlib.import_module(unit.shim_name("importlib.metadata"))
        return metadata.distribution(dist) if isinstance(dist, str) else dist

    return {**{name: forwarded(name) for name in _PACKAGED}, "get_distribution": get_distribution}
