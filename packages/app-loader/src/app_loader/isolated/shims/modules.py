"""`sys.modules` as isolated code sees it: its own modules under their original names, everyone else's shared ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, MutableMapping
from types import ModuleType
from typing import Any

from app_loader.isolated._names import PREFIX, SHIMS
from app_loader.isolated._unit import Unit


class ModulesView(MutableMapping[str, ModuleType]):
    """A view of `sys.modules`: nothing is copied, and what is written here is importable at once."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __call__(self) -> None:
        """Refuse, as a dict does. It exists because Dynamo takes only callables from a builtins dict."""
        raise TypeError("'dict' object is not callable")

    def __getitem__(self, name: str) -> ModuleType:
        try:
            return sys.modules[self._unit.isolated_name(name)]
        except KeyError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, module: ModuleType) -> None:
        made_here = getattr(getattr(module, "__spec__", None), "name", "") or getattr(module, "__name__", "")
        if isinstance(made_here, str) and made_here == f"{self._unit.prefix}.{name}":
            self._unit.dynamic.add(name)
        elif not self._unit.owns(name):
            self._claim(name, module)
        sys.modules[self._unit.isolated_name(name)] = module

    def _claim(self, name: str, module: ModuleType) -> None:
        """Ask for a name that is everyone's; a module of the unit's own under it is refused to the next unit."""
        from app_loader.isolated._ledger import ABSENT, claim

        def put_back(former: Any) -> None:
            if former is ABSENT:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = former

        current = sys.modules.get(name, ABSENT)
        claim(self._unit, sys.modules, name, module, current=current, table="sys.modules", put_back=put_back)

    def __delitem__(self, name: str) -> None:
        try:
            del sys.modules[self._unit.isolated_name(name)]
        except KeyError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._unit.isolated_name(name) in sys.modules

    def __iter__(self) -> Iterator[str]:
        unit = self._unit
        shims = f"{unit.prefix}.{SHIMS}"
        for name in list(sys.modules):
            if name.startswith(PREFIX):
                if name.startswith(f"{unit.prefix}.") and not name.startswith(shims):
                    yield unit.original_name(name)
            elif not unit.owns(name):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, ModuleType]:
        """Return a plain dict, as a dict's own `copy` does."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as what another process sees."""
        return _view, (self._unit.shim_name("sys"),)

    def __repr__(self) -> str:
        return f"<sys.modules as {self._unit.distribution} {self._unit.version} sees it>"


def _view(shim: str) -> Any:
    return importlib.import_module(shim).modules


def overrides(unit: Unit) -> dict[str, Any]:
    """Return the view for one unit."""
    return {"modules": ModulesView(unit)}
