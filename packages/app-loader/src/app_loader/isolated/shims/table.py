"""Which shim is made by what, and the builtins of a unit."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Container
from types import ModuleType
from typing import Any

from app_loader.isolated._class_repr import is_asked_for, make_build_class
from app_loader.isolated._expressions import ISOLATE, KEY, OWN, SHOWN
from app_loader.isolated._helpers import name_after
from app_loader.isolated._net import make_import
from app_loader.isolated._shim_module import ShimModule
from app_loader.isolated._targets import ATTRIBUTES, helper_name
from app_loader.isolated._unit import Unit
from app_loader.isolated._writes import REGISTER, SETATTR, WRITE
from app_loader.isolated.shims import (
    datapipes,
    environments,
    imports,
    logs,
    metadata,
    modules,
    operators,
    paths,
    pickles,
    pytrees,
    resources,
    walking,
)

_OVERRIDES: dict[str, Callable[[Unit], dict[str, Any]]] = {
    "cloudpickle": pickles.cloudpickle_overrides,
    "gymnasium": environments.overrides,
    "gymnasium.envs.registration": environments.overrides,
    "importlib": imports.importlib_overrides,
    "importlib.machinery": imports.machinery_overrides,
    "importlib.metadata": lambda unit: metadata.overrides(unit, "importlib.metadata"),
    "importlib.resources": lambda unit: resources.overrides(unit, "importlib.resources"),
    "importlib.util": imports.util_overrides,
    "importlib_metadata": lambda unit: metadata.overrides(unit, "importlib_metadata"),
    "importlib_resources": lambda unit: resources.overrides(unit, "importlib_resources"),
    "logging.config": logs.overrides,
    "pickle": pickles.pickle_overrides,
    "pkg_resources": resources.pkg_resources_overrides,
    "pkgutil": walking.pkgutil_overrides,
    "pydoc": walking.pydoc_overrides,
    "sys": lambda unit: {**modules.overrides(unit), **paths.overrides(unit)},
    "torch": lambda unit: {
        "library": make_shim("torch.library", unit),
        "ops": operators.Operators(unit),
        **pickles.torch_overrides(unit),
    },
    "torch.library": operators.library_overrides,
    "torch.export": lambda unit: pytrees.overrides(unit, "torch.export"),
    "torch.utils._pytree": pytrees.overrides,
    "torch.utils.data": datapipes.overrides,
    "torch.utils.data.datapipes._decorator": datapipes.overrides,
}


class _BuiltinsShim(ShimModule):
    """`builtins` as the unit sees it: a name that its code puts there is seen by its code, and by no one else's."""

    def __init__(self, name: str, unit: Unit) -> None:
        super().__init__(name, "builtins", {})
        vars(self)["_unit"] = unit

    def __getattr__(self, name: str) -> Any:
        unit: Unit = vars(self)["_unit"]
        unit.supply_helpers(name.encode())  # a function that was pickled by name may be the first to name it
        try:
            return unit.builtins[name]
        except KeyError:
            raise AttributeError(f"module 'builtins' has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("__spec__", "__loader__", "__package__", "__path__"):
            super().__setattr__(name, value)
        else:
            vars(self)["_unit"].builtins[name] = value


def make_shim(name: str, unit: Unit) -> ModuleType | None:
    """Return the unit's shim for a shared module, None where it has none."""
    with unit.lock:
        shim = unit.shims.get(name)
        if shim is None:
            if name == "builtins":
                shim = _BuiltinsShim(unit.shim_name(name), unit)
            elif name in _OVERRIDES:
                overrides = _OVERRIDES[name](unit)
                named = {key: name_after(each, unit.shim_name(name), key) for key, each in overrides.items()}
                shim = ShimModule(unit.shim_name(name), name, named)
            else:
                return None
            unit.shims[name] = shim
        return shim


def furnish(unit: Unit) -> None:
    """Fill the unit's builtins: an exact dict, since a subclass makes every look-up of a global four times slower."""
    with unit.lock:
        if not unit.builtins:
            unit.helpers = _HELPERS
            own = name_after(make_import(unit), unit.shim_name("builtins"), "__import__")
            unit.builtins.update({**vars(builtins), "__import__": own})
            if is_asked_for():
                unit.builtins["__build_class__"] = make_build_class()


def _write(unit: Unit) -> Callable[..., Any]:
    def write(value: Any, owner: Any, key: Any, kind: str) -> Any:
        from app_loader.isolated.shims.writes import write_shared  # most units write to nothing shared

        return write_shared(unit, value, owner, key, kind)

    return write


def _setattr(unit: Unit) -> Callable[..., Any]:
    write = _write(unit)

    def set_attribute(owner: Any, name: str, value: Any) -> None:
        if isinstance(owner, type | ModuleType):
            write(value, owner, name, "attribute")
        else:  # of an object it is nobody else's business; Dynamo follows this
            setattr(owner, name, value)

    return set_attribute


def _register(unit: Unit) -> Callable[..., Any]:
    def register(called: Any) -> Any:
        from app_loader.isolated.shims.writes import registering

        return registering(unit, called)

    return register


def _own_name_of(unit: Unit) -> Callable[[Any], Any]:
    prefix = unit.prefix + "."

    def original_name(value: Any) -> Any:
        if type(value) is str and value.startswith(prefix):
            return value[len(prefix) :]
        return tuple(map(original_name, value)) if type(value) is tuple else value

    return original_name


def _shown_text_of(unit: Unit) -> Callable[[Any], Any]:
    prefix = unit.prefix + "."

    def shown_text(value: Any) -> Any:
        return value.replace(prefix, "") if type(value) is str else value

    return shown_text


def _known_key_of(unit: Unit) -> Callable[[Any, Any], Any]:
    prefix = unit.prefix + "."

    def known_key(table: Any, key: Any) -> Any:
        if type(key) is str and key.startswith(prefix) and isinstance(table, Container) and key not in table:
            return key[len(prefix) :]
        return key

    return known_key


def _isolated_name_of(unit: Unit) -> Callable[[Any], Any]:
    def isolated_name(value: Any) -> Any:
        return unit.isolated_name(value) if type(value) is str else value

    return isolated_name


def _redirected(dotted: str, shim: str) -> Callable[[Unit], Any]:
    return lambda unit: vars(make_shim(shim, unit))[dotted.rpartition(".")[2]]


_HELPERS: dict[str, Callable[[Unit], Any]] = {
    OWN: _own_name_of,
    ISOLATE: _isolated_name_of,
    KEY: _known_key_of,
    SHOWN: _shown_text_of,
    WRITE: _write,
    SETATTR: _setattr,
    REGISTER: _register,
    **{helper_name(dotted): _redirected(dotted, shim) for dotted, shim in ATTRIBUTES.items()},
}
