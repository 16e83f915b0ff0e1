"""`gymnasium`'s registry as isolated code sees it: an environment that a unit registers is the unit's own.

Only where gymnasium is shared; a unit with a private gymnasium has a registry of its own. The id ``Maze-v0`` becomes
``<identifier>/Maze-v0`` in the shared registry, and the unit's own code finds it under the old id.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from app_loader.isolated._unit import Unit


def overrides(unit: Unit) -> dict[str, Any]:
    """Return the functions of gymnasium's registry that take an id or an entry point."""
    own: set[str] = unit.environments

    def shared_id(name: Any) -> Any:
        if not isinstance(name, str) or name not in own:
            return name
        namespace, slash, rest = name.rpartition("/")
        return f"{namespace}:{unit.identifier}/{rest}" if slash else f"{unit.identifier}/{name}"

    def register(id: str, entry_point: Any = None, **options: Any) -> None:
        own.add(id)
        if isinstance(entry_point, str):
            module, colon, attribute = entry_point.partition(":")
            entry_point = f"{unit.isolated_name(module)}{colon}{attribute}"
        importlib.import_module("gymnasium.envs.registration").register(shared_id(id), entry_point, **options)

    def forwarded(name: str) -> Callable[..., Any]:
        def function(id: Any, *arguments: Any, **options: Any) -> Any:
            return getattr(importlib.import_module("gymnasium"), name)(shared_id(id), *arguments, **options)

        function.__name__ = name
        return function

    return {"register": register, **{name: forwarded(name) for name in ("make", "make_vec", "spec")}}
