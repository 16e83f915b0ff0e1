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
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from app_loader.isolated._announced import announce_search
from app_loader.isolated._listed import names_in
from app_loader.isolated._names import PACKAGE
from app_loader.isolated._unit import Unit

_OURS = f"{PACKAGE}._finder"
"""Where the finder of isolated modules is made, which imports this module."""


class ListView(list[Any]):
    """A list that is made anew at each look, and written back as a whole.

    What reads a list's memory without asking it, as some compiled code does, sees it as of the last look.
    """

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    def _read(self) -> list[Any]:
        raise NotImplementedError

    def _write(self, items: list[Any]) -> None:
        raise NotImplementedError

    def _look(self) -> list[Any]:
        items = self._read()
        list.__setitem__(self, slice(None), items)
        return items

    def _change(self, method: str, *arguments: Any, **options: Any) -> Any:
        items = self._read()
        result = getattr(items, method)(*arguments, **options)
        self._write(items)
        self._look()
        return result

    def __call__(self) -> None:
        """Refuse, as a list does. It exists because Dynamo takes only callables from a builtins dict."""
        raise TypeError("'list' object is not callable")

    def __getitem__(self, index: Any) -> Any:
        return self._look()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._look())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._look()[::-1])

    def __contains__(self, value: object) -> bool:
        return value in self._look()

    def __len__(self) -> int:
        return len(self._look())

    def index(self, value: Any, *between: Any) -> int:
        """Return where a value stands first, as a list does."""
        return self._look().index(value, *between)

    def count(self, value: Any) -> int:
        """Count a value, as a list does."""
        return self._look().count(value)

    def copy(self) -> list[Any]:
        """Return a plain list, as a list's own `copy` does."""
        return self._look()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._change("__setitem__", index, [*value] if value is self else value)

    def __delitem__(self, index: Any) -> None:
        self._change("__delitem__", index)

    def insert(self, index: Any, value: Any) -> None:
        """Insert before an index, as a list does; beyond the end is the end."""
        self._change("insert", index, value)

    def append(self, value: Any) -> None:
        """Append as a list does."""
        self._change("append", value)

    def extend(self, values: Iterable[Any]) -> None:
        """Extend as a list does."""
        self._change("extend", [*values])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    def __imul__(self, times: Any) -> Self:  # type: ignore[misc]  # as a list
        self._change("__imul__", times)
        return self

    def pop(self, index: Any = -1) -> Any:
        """Take an item out, as a list does."""
        return self._change("pop", index)

    def remove(self, value: Any) -> None:
        """Remove a value, as a list does."""
        self._change("remove", value)

    def clear(self) -> None:
        """Take everything out, as a list does."""
        self._change("clear")

    def reverse(self) -> None:
        """Reverse as a list does."""
        self._change("reverse")

    def sort(self, **options: Any) -> None:
        """Sort as a list does."""
        self._change("sort", **options)

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self._look(), *other]

    def __radd__(self, other: Iterable[Any]) -> list[Any]:
        return [*other, *self._look()]

    def __eq__(self, other: object) -> bool:
        return self._look() == (other.copy() if isinstance(other, ListView) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as a list

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle as a plain list, which is what another process may do with it."""
        return list, (self._look(),)

    def __repr__(self) -> str:
        return repr(self._look())


class SearchPath(ListView):
    """`sys.path`: the process's entries, the unit's folder right after the first, and what its code put there."""

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self._folder = os.path.realpath(unit.folder)
        self._layout: list[Any] | None = None
        self._own: dict[str, bool] = {}

    def _read(self) -> list[Any]:
        shared = [entry for entry in sys.path if not self._is_own(entry)]
        layout = self._layout
        if layout is None:
            layout = [*shared[:1], str(self._unit.folder), *shared[1:]]
        elif [entry for entry in layout if not self._is_own(entry)] != shared:
            # Other code wrote there meanwhile; what stood before everything of others still does.
            first = next((index for index, entry in enumerate(layout) if not self._is_own(entry)), 0)
            after = [entry for entry in layout[first:] if self._is_own(entry)]
            layout = [*layout[:first], *shared, *after]
        self._layout = layout
        return [*layout]

    def _write(self, items: list[Any]) -> None:
        before = self._read()
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
        own = self._own.get(entry)
        if own is None:  # what it was at the first look it stays: a look would ask the disk some hundred times
            own = self._own[entry] = self._is_own_folder(os.path.realpath(entry))
        return own

    def _is_own_folder(self, place: str) -> bool:
        """Whether a place is the unit's folder or one below, if only one that is made later; an archive is none."""
        if place != self._folder and not place.startswith(f"{self._folder}{os.sep}"):
            return False
        there = Path(place)
        while not there.exists():
            there = there.parent
        return there.is_dir()


def _search_also(unit: Unit, folder: str, *, ahead: bool) -> None:
    """Let a folder below the unit's bring top-level names, but those that Python would not have taken from there.

    Args:
        unit: whose folder it is.
        folder: the folder.
        ahead: whether it stands before all that is not the unit's.
    """
    below = os.path.relpath(folder, os.path.realpath(unit.folder))
    if below == os.curdir:
        return
    others = [entry for entry in sys.path if not os.path.realpath(entry).endswith(f"{os.sep}{below}")]
    names = names_in(folder)
    left = {
        name
        for name, is_module in names.items()
        if not unit.owns(name)
        # What has no `__init__` gives way to any module on the whole path: Source: PEP 420.
        and (_is_imported(name, below) or (not (ahead and is_module) and _is_found(name, others)))
    }
    unit.search_also(folder, names.keys() - left)
    announce_search(unit.identifier, folder, left)


def _is_imported(name: str, below: str) -> bool:
    """Whether a name is imported from anywhere but the same place of a plain copy of the package."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name in sys.modules and not _is_twin(spec, name, below)


def _is_found(name: str, path: list[str]) -> bool:
    """Whether a path leads to a module of a name; any folder may be a namespace package, and is none."""
    spec = PathFinder.find_spec(name, path)
    return spec is not None and spec.loader is not None


def _is_twin(spec: ModuleSpec | None, name: str, below: str) -> bool:
    if spec is None:
        return False
    place = f"{os.sep}{below}{os.sep}{name}"
    if not spec.origin:  # a namespace package
        return any(each.endswith(place) for each in spec.submodule_search_locations or ())
    return os.path.realpath(spec.origin).endswith((f"{place}.py", f"{place}{os.sep}__init__.py"))


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
    __name__ = PathFinder.__name__  # of its instances
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
