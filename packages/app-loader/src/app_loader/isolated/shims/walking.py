"""`pkgutil` and `pydoc.locate` as isolated code sees them: walks and dotted paths stay inside the version."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from app_loader.isolated._loader import isolate_spec
from app_loader.isolated._unit import Unit
from app_loader.isolated.shims.imports import own_import


def pkgutil_overrides(unit: Unit) -> dict[str, Any]:
    """Return the functions of `pkgutil` that import by name."""
    load = own_import(unit)

    def get_data(package: str, resource: str) -> bytes | None:
        return pkgutil.get_data(unit.isolated_name(package), resource)

    def iter_modules(path: Iterable[str] | None = None, prefix: str = "") -> Iterator[pkgutil.ModuleInfo]:
        if path is None:  # every top-level module: the unit's own first, and no other version of what is its own
            yield from iter_modules(unit.search, prefix)
        for info in pkgutil.iter_modules(path, prefix):
            if path is None and unit.owns(info.name.removeprefix(prefix)):
                continue
            where = getattr(info.module_finder, "path", "")
            if isinstance(where, str) and Path(where).is_relative_to(unit.folder):
                yield pkgutil.ModuleInfo(_UnitFinder(unit, info.module_finder), info.name, info.ispkg)
            else:
                yield info

    def walk_packages(
        path: Iterable[str] | None = None, prefix: str = "", onerror: Callable[[str], None] | None = None
    ) -> Iterator[pkgutil.ModuleInfo]:
        for info in iter_modules(path, prefix):
            yield info
            if not info.ispkg:
                continue
            try:
                package = load(info.name)
            except ImportError:
                if onerror is not None:
                    onerror(info.name)
            except Exception:
                if onerror is None:
                    raise
                onerror(info.name)
            else:
                yield from walk_packages(getattr(package, "__path__", None) or [], f"{info.name}.", onerror)

    def resolve_name(name: str) -> Any:
        module, colon, attributes = name.partition(":")
        if colon:
            return _attribute(load(module), attributes.split(".") if attributes else [])
        return _located(load, name)

    def find_loader(fullname: str) -> Any:
        spec = importlib.util.find_spec(unit.isolated_name(fullname))
        return spec.loader if spec is not None else None

    def get_loader(module_or_name: Any) -> Any:
        if isinstance(module_or_name, ModuleType):
            return getattr(module_or_name, "__loader__", None)
        return find_loader(module_or_name)

    return {
        "get_data": get_data,
        "iter_modules": iter_modules,
        "walk_packages": walk_packages,
        "resolve_name": resolve_name,
        "find_loader": find_loader,
        "get_loader": get_loader,
    }


class _UnitFinder:
    """The finder of one of the unit's folders: what it finds is loaded by the unit's loader."""

    def __init__(self, unit: Unit, finder: Any) -> None:
        self._unit = unit
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        spec: ModuleSpec | None = self._finder.find_spec(self._unit.isolated_name(fullname))
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            return isolate_spec(spec, self._unit)
        return spec


def pydoc_overrides(unit: Unit) -> dict[str, Any]:
    """Return `pydoc.locate`, which many configuration readers use to turn a dotted path into an object."""
    load = own_import(unit)

    def locate(path: str, forceload: bool = False) -> Any:
        if not unit.owns(path.partition(".")[0]):
            return importlib.import_module("pydoc").locate(path, forceload)
        try:
            return _located(load, path)
        except (ImportError, AttributeError):
            return None

    return {"locate": locate}


def _located(load: Callable[[str], ModuleType], path: str) -> Any:
    """Return the object at a dotted path: as many modules as there are, then attributes."""
    parts = path.split(".")
    found: Any = load(parts[0])
    name = parts[0]
    for index, part in enumerate(parts[1:], start=1):
        try:
            found = load(f"{name}.{part}")
        except ModuleNotFoundError as error:
            if not str(error.name).endswith(f"{name}.{part}"):
                raise
            return _attribute(found, parts[index:])
        name = f"{name}.{part}"
    return found


def _attribute(found: Any, names: list[str]) -> Any:
    for name in names:
        found = getattr(found, name)
    return found
