"""`sys.path` and `sys.meta_path` as isolated code sees them: those of the process, with what the unit put there itself.

Old code puts a folder of its own on `sys.path` and imports what lies there by a top-level name. In a process that has
several versions of it the first one's modules would answer for all. So a folder of the unit goes into the unit's own
search, and the names that it brings are the unit's. A folder elsewhere goes into the process's path, as it always did.

A finder that the unit's code puts on `sys.meta_path` works for the whole process, but answers only the unit's own copy
of `importlib_metadata` about distributions, and no other unit sees it. Such a copy makes itself the only one to answer
by taking `find_distributions` from the standard finder, which it takes from its own view of that here.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from collections.abc import Iterable, MutableSequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from app_loader.isolated._announced import announce_search
from app_loader.isolated._names import PACKAGE
from app_loader.isolated._unit import Unit

_OURS = f"{PACKAGE}._finder"
"""Where the finder of isolated modules is made, which imports this module."""


class ListView(MutableSequence[Any]):
    """A list that is made anew at each look, and written back as a whole."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    @abstractmethod
    def _read(self) -> list[Any]: ...

    @abstractmethod
    def _write(self, items: list[Any]) -> None: ...

    def __call__(self) -> None:
        """Refuse, as a list does. It exists because Dynamo takes only callables from a builtins dict."""
        raise TypeError("'list' object is not callable")

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        items = self._read()
        items[index] = value
        self._write(items)

    def __delitem__(self, index: Any) -> None:
        items = self._read()
        del items[index]
        self._write(items)

    def __len__(self) -> int:
        return len(self._read())

    def insert(self, index: int, value: Any) -> None:
        """Insert before an index, as a list does; beyond the end is the end."""
        items = self._read()
        items.insert(index, value)
        self._write(items)

    def copy(self) -> list[Any]:
        """Return a plain list, as a list's own `copy` does."""
        return self._read()

    def sort(self, **options: Any) -> None:
        """Sort as a list does."""
        self._write(sorted(self._read(), **options))

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self._read(), *other]

    def __radd__(self, other: Iterable[Any]) -> list[Any]:
        return [*other, *self._read()]

    def __eq__(self, other: object) -> bool:
        return self._read() == (other.copy() if isinstance(other, ListView) else other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain list, which is what another process may do with it."""
        return list, (self._read(),)

    def __repr__(self) -> str:
        return repr(self._read())


class SearchPath(ListView):
    """`sys.path`: the process's entries, the unit's folder right after the first, and what its code put there."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self._folder = os.path.realpath(unit.folder)
        self._layout: list[Any] = []

    def _read(self) -> list[Any]:
        shared = [entry for entry in sys.path if not self._is_own(entry)]
        if not self._layout:
            self._layout = [*shared[:1], str(self._unit.folder), *shared[1:]]
        kept = [entry for entry in self._layout if not self._is_own(entry)]
        if kept != shared:  # other code wrote there meanwhile; what stood before everything of others still does
            first = next((index for index, entry in enumerate(self._layout) if not self._is_own(entry)), 0)
            after = [entry for entry in self._layout[first:] if self._is_own(entry)]
            self._layout = [*self._layout[:first], *shared, *after]
        return [*self._layout]

    def _write(self, items: list[Any]) -> None:
        before = self._layout
        shared = [entry for entry in items if not self._is_own(entry)]
        if shared != [entry for entry in before if not self._is_own(entry)]:
            for index, entry in enumerate(sys.path):  # a plain import of these files keeps its own
                if self._is_own(entry):
                    shared.insert(index, entry)
            sys.path[:] = shared
        self._layout = [*items]
        ahead = True
        for entry in items:
            ahead = ahead and self._is_own(entry)
            if self._is_own(entry) and entry not in before:
                _search_also(self._unit, os.path.realpath(entry), ahead=ahead)

    def _is_own(self, entry: Any) -> bool:
        if not isinstance(entry, str) or not entry:
            return False
        place = os.path.realpath(entry)
        return place == self._folder or place.startswith(f"{self._folder}{os.sep}")


def _search_also(unit: Unit, folder: str, *, ahead: bool) -> None:
    """Let a folder below the unit's bring top-level names, but those that Python would not have taken from there.

    Args:
        unit: whose folder it is.
        folder: the folder.
        ahead: whether it stands before all that is not the unit's.
    """
    below = os.path.relpath(folder, os.path.realpath(unit.folder))
    if below == os.curdir or not Path(folder).is_dir():
        return
    found = {info.name for info in iter_modules([folder])} | {
        entry.name for entry in os.scandir(folder) if entry.is_dir()
    }
    names = {name for name in found - sys.stdlib_module_names if name.isidentifier()}
    taken = _is_imported if ahead else _is_found
    brought = {name for name in names if not unit.owns(name) and not taken(name, below)}
    unit.search_also(folder, brought)
    announce_search(unit.identifier, folder, brought)


def _is_imported(name: str, below: str) -> bool:
    """Whether a name is imported from anywhere but the same place of a plain copy of the package."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name in sys.modules and not _is_twin(spec, name, below)


def _is_found(name: str, below: str) -> bool:
    """Whether the process's path leads to a name, anywhere but at the same place of a plain copy of the package."""
    path = [entry for entry in sys.path if not os.path.realpath(entry).endswith(f"{os.sep}{below}")]
    spec = PathFinder.find_spec(name, path)
    return spec is not None and spec.loader is not None  # any folder may be a namespace package


def _is_twin(spec: ModuleSpec | None, name: str, below: str) -> bool:
    origin = os.path.realpath(spec.origin) if spec is not None and spec.origin else ""
    place = f"{os.sep}{below}{os.sep}{name}"
    return origin.endswith((f"{place}.py", f"{place}{os.sep}__init__.py"))


class Finders(ListView):
    """`sys.meta_path` without the finder of isolated modules, those of other units, and those of plain copies."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        # A plain copy of the unit's own took this from the standard finder, and is hidden: here it still answers.
        answers = hasattr(PathFinder, "find_distributions") or any(map(self._is_twin, sys.meta_path))
        self._standard = _StandardFinder(answers)

    def _read(self) -> list[Any]:
        return [self._shown(finder) for finder in sys.meta_path if not self._is_hidden(finder)]

    def _write(self, items: list[Any]) -> None:
        made = [self._kept(finder) for finder in items]
        for index, finder in enumerate(sys.meta_path):
            if self._is_hidden(finder):
                made.insert(index, finder)
        sys.meta_path[:] = made

    def _shown(self, finder: Any) -> Any:
        if isinstance(finder, UnitFinder):
            return finder.finder
        return self._standard if finder is PathFinder else finder

    def _kept(self, finder: Any) -> Any:
        if isinstance(finder, _StandardFinder):
            return PathFinder
        if not _module_of(finder).startswith(f"{self._unit.prefix}."):
            return finder
        known = (each for each in sys.meta_path if isinstance(each, UnitFinder) and each.finder is finder)
        return next(known, None) or UnitFinder(self._unit, finder)

    def _is_hidden(self, finder: Any) -> bool:
        if isinstance(finder, UnitFinder):
            return finder.unit is not self._unit
        return self._is_twin(finder) or _module_of(finder) == _OURS

    def _is_twin(self, finder: Any) -> bool:
        return self._unit.owns(_module_of(finder)) and hasattr(finder, "find_distributions")


class UnitFinder:
    """A finder of one unit, as it stands in the process's `sys.meta_path`: it finds modules, no distributions.

    Attributes:
        unit: whose it is.
        finder: what the unit's code made.
    """

    def __init__(self, unit: Unit, finder: Any) -> None:
        self.unit = unit
        self.finder = finder

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what the finder finds."""
        find = getattr(self.finder, "find_spec", None)
        spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
        return spec

    def invalidate_caches(self) -> None:
        """Pass on."""
        invalidate = getattr(self.finder, "invalidate_caches", None)
        if invalidate is not None:
            invalidate()

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.finder

    def __hash__(self) -> int:
        return hash(self.finder)


class _StandardFinder:
    """The standard finder of paths; what is taken from it is gone from this unit's view only."""

    __module__ = PathFinder.__module__
    find_spec = PathFinder.find_spec
    invalidate_caches = PathFinder.invalidate_caches

    def __init__(self, answers: bool) -> None:
        if answers:
            self.find_distributions = _find_distributions

    def __eq__(self, other: object) -> bool:
        return other is self or other is PathFinder

    def __hash__(self) -> int:
        return hash(PathFinder)


def _find_distributions(*arguments: Any, **options: Any) -> Any:
    from importlib.metadata import MetadataPathFinder  # costs more than most units' imports, and few ask

    return MetadataPathFinder.find_distributions(*arguments, **options)


def _module_of(finder: Any) -> str:
    return str((finder if isinstance(finder, type) else type(finder)).__module__)


def withdraw(unit: Unit) -> None:
    """Take a unit's finders out of the process."""
    sys.meta_path[:] = [each for each in sys.meta_path if not (isinstance(each, UnitFinder) and each.unit is unit)]


def overrides(unit: Unit) -> dict[str, Any]:
    """Return both views for one unit."""
    return {"path": SearchPath(unit), "meta_path": Finders(unit)}
