"""`importlib`, `importlib.util` and `importlib.machinery` as isolated code sees them: own names, own version."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from app_loader.errors import NativeCodeError
from app_loader.isolated._loader import isolate_spec, loader_class
from app_loader.isolated._net import import_target, make_import
from app_loader.isolated._unit import Unit


def importlib_overrides(unit: Unit) -> dict[str, Any]:
    """Return the names of `importlib` that import by name."""
    resolve = _resolver(unit)

    def import_module(name: str, package: str | None = None) -> ModuleType:
        return import_target(unit, resolve(name, package))

    # What `torch._dynamo.assume_constant_result` sets: a name gives one module, so Dynamo may look it up while tracing.
    import_module._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return {"import_module": import_module, "__import__": make_import(unit), **_submodules(unit)}


def _submodules(unit: Unit) -> dict[str, Any]:
    # `import importlib` alone gives these as attributes in every process that has torch, and old code relies on it.
    names = ("machinery", "metadata", "resources", "util")
    return {name: _LazyShim(unit.shim_name(f"importlib.{name}")) for name in names}


class _LazyShim(ModuleType):
    """A shim that is imported when the first name is taken from it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __call__(self) -> None:
        raise TypeError("'module' object is not callable")


def util_overrides(unit: Unit) -> dict[str, Any]:
    """Return the names of `importlib.util` that find by name or load from a file."""
    resolve = _resolver(unit)

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return importlib.util.find_spec(unit.isolated_name(resolve(name, package)))

    def spec_from_file_location(
        name: str,
        location: Any = None,
        *,
        loader: Any = None,
        submodule_search_locations: Any = None,
    ) -> ModuleSpec | None:
        options: dict[str, Any] = {}
        if loader is not None:
            options["loader"] = loader
        if submodule_search_locations is not None:
            options["submodule_search_locations"] = submodule_search_locations
        taken = dynamic_name(unit, name)
        spec = importlib.util.spec_from_file_location(taken, location, **options)
        if _is_compiled(spec) and unit.folder in Path(str(location)).absolute().parents:
            raise NativeCodeError(f"{unit.distribution} {unit.version}", [str(location)])
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader and spec.origin:
            return isolate_spec(spec, unit)
        return spec

    return {"find_spec": find_spec, "spec_from_file_location": spec_from_file_location}


def _is_compiled(spec: ModuleSpec | None) -> bool:
    """Whether a spec would load a compiled module; those of a unit are never loaded."""
    return spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def machinery_overrides(unit: Unit) -> dict[str, Any]:
    """Return `SourceFileLoader` for code that loads a file without a spec."""
    return {"SourceFileLoader": loader_class(unit)}


def dynamic_name(unit: Unit, name: str) -> str:
    """Return the name of a module that isolated code makes at run time: inside the unit, so that two never meet."""
    return unit.dynamic_name(name)


def _resolver(unit: Unit) -> Callable[[str, str | None], str]:
    def resolve(name: str, package: str | None) -> str:
        if not name.startswith("."):
            return name
        return importlib.util.resolve_name(name, unit.isolated_name(package) if package else package)

    return resolve


def as_module(unit: Unit, anchor: Any) -> Any:
    """Return the module that an own name stands for, and anything else as it is."""
    if isinstance(anchor, str) and unit.owns(anchor):
        return importlib.import_module(unit.isolated_name(anchor))
    return anchor


def own_import(unit: Unit) -> Callable[[str], ModuleType]:
    """Return an importer by name for this unit."""
    return lambda name: import_target(unit, name)
