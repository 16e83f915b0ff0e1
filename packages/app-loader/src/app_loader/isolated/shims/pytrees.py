"""`torch.utils._pytree` and `torch.export` as isolated code sees them: serialized type names are kept apart.

Nodes are registered by class, and classes of two versions differ. Only the name under which `torch.export` writes a
node is one for the process: the later registration would take it over, so a unit's names carry its identifier.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from app_loader.isolated._unit import Unit

_FUNCTIONS = {
    "torch.utils._pytree": (
        "register_pytree_node",
        "_register_pytree_node",
        "register_dataclass",
        "register_constant",
    ),
    "torch.export": ("register_dataclass",),
}


def overrides(unit: Unit, module: str = "torch.utils._pytree") -> dict[str, Any]:
    """Return the registrations of `torch.utils._pytree` or `torch.export`."""

    def forwarded(name: str) -> Callable[..., Any]:
        def register(*arguments: Any, **options: Any) -> Any:
            if isinstance(options.get("serialized_type_name"), str):
                options["serialized_type_name"] = f"{unit.prefix}.{options['serialized_type_name']}"
            function = getattr(importlib.import_module(module), name)
            if arguments and str(getattr(arguments[0], "__module__", "")).startswith(f"{unit.prefix}."):
                return function(*arguments, **options)  # a class of the unit's own meets no other
            from app_loader.isolated.shims.writes import registering

            return registering(unit, function)(*arguments, **options)

        register.__name__ = name
        return register

    return {name: forwarded(name) for name in _FUNCTIONS[module]}
