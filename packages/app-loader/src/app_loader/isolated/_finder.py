"""The finder of isolated modules: the one thing that importing `app_loader.isolated` installs.

It answers for names below ``app_loader.isolated`` and returns None at once for every other, but for the one module of
torch that has to be told what Dynamo must not follow (see `_from_dynamo`).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from policy_interface.origin import ORIGIN_ATTRIBUTE

from app_loader.errors import NativeCodeError
from app_loader.isolated._from_dynamo import DECORATORS, find_dynamo
from app_loader.isolated._loader import isolate_spec
from app_loader.isolated._names import PREFIX, SHIMS
from app_loader.isolated._native import source_beside
from app_loader.isolated._search import find_unit
from app_loader.isolated._unit import Unit
from app_loader.isolated.shims import furnish, make_shim


class IsolatedFinder(MetaPathFinder):
    """Finds unit packages, their modules and their shims."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an isolated name, None for a name that is none of its business."""
        if not fullname.startswith(PREFIX):
            if fullname != DECORATORS:
                return None
            return find_dynamo(path, target, [finder for finder in sys.meta_path if finder is not self])
        identifier, _, original = fullname[len(PREFIX) :].partition(".")
        unit = find_unit(identifier)
        if unit is None:
            return None
        if not original:
            return _made_spec(fullname, _UnitLoader(unit), unit.search)
        if original == SHIMS or original.startswith(f"{SHIMS}."):
            return _made_spec(fullname, _ShimLoader(unit, original[len(SHIMS) + 1 :]), [])
        spec = _listed_spec(unit, fullname, original, path) or PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        if spec.loader is None:  # a namespace package: Source: PEP 420
            setattr(spec, ORIGIN_ATTRIBUTE, unit.origin(fullname))
            if original in unit.owned.partly and spec.submodule_search_locations is not None:
                locations = list(spec.submodule_search_locations)
                return _made_spec(fullname, _NamespaceLoader(original), locations)
            return spec
        if not isinstance(spec.loader, SourceFileLoader):
            source = source_beside(str(spec.origin))  # what such a file is compiled from does the same
            if source is None:
                raise NativeCodeError(f"{unit.distribution} {unit.version}", [str(spec.origin)])
            spec.origin = str(source)
        return isolate_spec(spec, unit)


def _listed_spec(unit: Unit, fullname: str, original: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of a module that the list of pinned files names, without asking the disk.

    None where the list does not decide: it names no such file, or the package's `__path__` is no longer what its place
    in the unit says.
    """
    if not unit.hashes:
        return None
    place = f"{unit.folder}{os.sep}{original.replace('.', os.sep)}"
    if path is None or len(path) != 1 or path[0] != place.rpartition(os.sep)[0]:
        return None
    listed = original.replace(".", "/")
    if f"{listed}/__init__.py" in unit.hashes:  # packages first, as in CPython's own finder
        spec = ModuleSpec(fullname, None, origin=f"{place}{os.sep}__init__.py", is_package=True)
        spec.submodule_search_locations = [place]
    elif f"{listed}.py" in unit.hashes:
        spec = ModuleSpec(fullname, None, origin=f"{place}.py")
    else:
        return None
    spec.has_location = True
    return isolate_spec(spec, unit)


class _UnitLoader(Loader):
    """Makes the package that holds a unit's modules."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = repr(self._unit)
        furnish(self._unit)


class _ShimLoader(Loader):
    """Makes a shim; a module that has none is the shared module itself."""

    def __init__(self, unit: Unit, name: str) -> None:
        self._unit = unit
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return make_shim(self._name, self._unit) if self._name else None

    def exec_module(self, module: ModuleType) -> None:
        if not self._name:
            return
        shared = importlib.import_module(self._name)  # raises what the code would have seen
        if type(module) is ModuleType:
            sys.modules[module.__name__] = shared


class _NamespaceLoader(Loader):
    """Makes a namespace package of which other distributions hold a part: what the unit lacks is theirs."""

    def __init__(self, name: str) -> None:
        self._name = name

    def exec_module(self, module: ModuleType) -> None:
        def __getattr__(attribute: str) -> Any:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            try:
                return importlib.import_module(f"{self._name}.{attribute}")
            except ModuleNotFoundError:
                raise AttributeError(f"module {self._name!r} has no attribute {attribute!r}") from None

        vars(module)["__getattr__"] = __getattr__


def install() -> None:
    """Put the finder first, once: a finder of paths would load the same files as they are."""
    if not any(isinstance(finder, IsolatedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, IsolatedFinder())


def _made_spec(fullname: str, loader: Loader, locations: list[str]) -> ModuleSpec:
    spec = ModuleSpec(fullname, loader, is_package=True)
    spec.submodule_search_locations = locations
    return spec
