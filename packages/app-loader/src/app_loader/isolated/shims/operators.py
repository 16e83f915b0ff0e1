"""`torch.library` and `torch.ops` as isolated code sees them: an operator that a unit defines is the unit's own.

torch keeps operators in one table for the process, and a second `custom_op` of one name silently replaces the kernel
of the first. What a unit defines under ``zoo::scale`` is therefore registered as ``zoo__<identifier>::scale``, and the
unit's own code finds it under the old name. Operators that it does not define (aten, those of shared libraries) stay
as they are.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from app_loader.isolated._unit import Unit

_DEFINING = ("custom_op", "triton_op", "define")
_NAMING = (
    "impl",
    "impl_abstract",
    "register_kernel",
    "register_fake",
    "register_autograd",
    "register_autocast",
    "register_torch_dispatch",
    "register_vmap",
    "get_kernel",
)
_SCHEMA_NAME = re.compile(r"^\s*(?:[\w]+::)?([\w]+)")


def namespace_of(unit: Unit, namespace: str) -> str:
    """Return the process-wide namespace for what a unit defines in `namespace`."""
    return f"{namespace}__{unit.identifier}"


def own_operator(unit: Unit, name: Any) -> Any:
    """Return the process-wide name of one of the unit's own operators, and anything else as it is."""
    if not isinstance(name, str):
        return name
    namespace, _, operator = name.partition("::")
    if operator and f"{namespace}::{operator.partition('.')[0]}" in unit.operators:
        return f"{namespace_of(unit, namespace)}::{operator}"
    return name


def library_overrides(unit: Unit) -> dict[str, Any]:
    """Return the functions of `torch.library` that take an operator by name."""

    def defining(function_name: str) -> Callable[..., Any]:
        def define(name: str, *arguments: Any, **options: Any) -> Any:
            _claim(unit, name)
            function = getattr(importlib.import_module("torch.library"), function_name)
            made = function(own_operator(unit, name), *arguments, **options)
            unit.settle()
            return made

        define.__name__ = function_name
        return define

    def naming(function_name: str) -> Callable[..., Any]:
        def register(name: Any, *arguments: Any, **options: Any) -> Any:
            function = getattr(importlib.import_module("torch.library"), function_name)
            if _is_shared(unit, name) and not _is_defined(name):
                _claim(unit, name)  # the unit is about to define it: kernels may come first
            if not _is_shared(unit, name) or function_name == "get_kernel":
                return function(own_operator(unit, name), *arguments, **options)
            if function_name == "impl" and unit.importing and _is_defined_in_python(name):
                types, kernel, *_ = (*arguments, *options.values(), None, None)

                def implement(of_others: bool) -> Any:
                    return (shared if of_others else register)(name, types)

                return _postponed(unit, name, implement, kernel)
            return shared(name, *arguments, **options)

        def shared(name: str, *arguments: Any, **options: Any) -> Any:
            function = getattr(importlib.import_module("torch.library"), function_name)
            table = f"torch.library.{function_name}"
            given = [*arguments, *(value for _, value in sorted(options.items()))]
            content = [value for value in given if isinstance(value, FunctionType)]
            key = ", ".join(map(str, [name, *(value for value in given if value not in content)]))
            if content:
                _claim_shared(unit, table, key, tuple(content))
                return function(name, *arguments, **options)

            def decorator(kernel: Any) -> Any:
                _claim_shared(unit, table, key, kernel)
                return function(name, *arguments, **options)(kernel)

            return decorator

        register.__name__ = function_name
        return register

    return {
        **{name: defining(name) for name in _DEFINING},
        **{name: naming(name) for name in _NAMING},
        "Library": _LibraryFactory(unit),
    }


class _LibraryFactory:
    """Makes the unit's `Library` class at the first call, so that torch is imported no earlier than it would be."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __call__(self, ns: str, kind: str, dispatch_key: str = "") -> Any:
        return _library_class(self._unit)(ns, kind, dispatch_key)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, importlib.import_module("torch.library").Library)


@cache
def _library_class(unit: Unit) -> Any:
    real = importlib.import_module("torch.library")

    class Library(real.Library):  # type: ignore[name-defined, misc]  # known at run time only
        """A library whose definitions are the unit's own, and whose other registrations go where they are named."""

        def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
            self._asked = ns
            self._shared: Any = None
            self._key = dispatch_key
            # FRAGMENT: a unit that is unloaded and imported again defines in the same namespace
            super().__init__(namespace_of(unit, ns), "FRAGMENT" if kind == "DEF" else kind, dispatch_key)

        def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> Any:
            """Define an operator of the unit's own."""
            match = _SCHEMA_NAME.match(schema)
            if match:
                unit.operators.add(f"{self._asked}::{match[1]}")
            made = super().define(schema, alias_analysis, tags=tags)
            unit.settle()
            return made

        def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any) -> Any:
            """Implement one of the unit's own operators, or a shared one where it is named."""
            name = op_name if isinstance(op_name, str) else str(getattr(op_name, "_name", op_name))
            operator = name.rpartition("::")[2]
            if not _is_defined(f"{self._asked}::{operator}"):
                _claim(unit, f"{self._asked}::{operator}")
            if f"{self._asked}::{operator.partition('.')[0]}" in unit.operators:
                return super().impl(operator if isinstance(op_name, str) else op_name, fn, dispatch_key, **options)
            _claim_shared(
                unit, "torch.library.Library", f"{self._asked}::{operator}, {dispatch_key or self._key or 'all'}", fn
            )
            if self._shared is None:
                self._shared = real.Library(self._asked, "IMPL", self._key)
            return self._shared.impl(op_name, fn, dispatch_key, **options)

    return Library


class Operators(ModuleType):
    """`torch.ops`: a namespace in which the unit defined something is the unit's view of it."""

    def __init__(self, unit: Unit) -> None:
        super().__init__("torch.ops")
        vars(self)["_unit"] = unit

    def __call__(self) -> None:
        """Refuse, as the real one does. It exists because Dynamo takes only callables from a builtins dict."""
        raise TypeError("'_Ops' object is not callable")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as what another process sees."""
        return _view, (vars(self)["_unit"].shim_name("torch"), "")

    def __getattr__(self, name: str) -> Any:  # every namespace goes through here
        unit: Unit = vars(self)["_unit"]
        real = importlib.import_module("torch").ops
        start = f"{name}::"
        if any(operator.startswith(start) for operator in unit.operators):
            found = vars(self)[name] = _Namespace(unit, name)  # one object: Dynamo guards on its identity
            return found
        return getattr(real, name)


class _Namespace(ModuleType):
    """One namespace of `torch.ops`, in which the unit's own operators hide those of other versions."""

    def __init__(self, unit: Unit, namespace: str) -> None:
        super().__init__(f"torch.ops.{namespace}")
        vars(self)["_unit"] = unit
        vars(self)["_namespace"] = namespace

    def __reduce__(self) -> tuple[Any, ...]:
        return _view, (vars(self)["_unit"].shim_name("torch"), vars(self)["_namespace"])

    def __getattr__(self, name: str) -> Any:
        unit, namespace = vars(self)["_unit"], vars(self)["_namespace"]
        own = f"{namespace}::{name}" in unit.operators
        real = importlib.import_module("torch").ops
        return getattr(getattr(real, namespace_of(unit, namespace) if own else namespace), name)


def _view(shim: str, namespace: str) -> Any:
    operators = importlib.import_module(shim).ops
    return getattr(operators, namespace) if namespace else operators


_shared_kernels: dict[tuple[str, str], Any] = {}
"""What units registered for operators that they do not own: torch tells of a replaced kernel, and replaces it."""


def _postponed(unit: Unit, name: str, implement: Callable[[bool], Callable[[Any], Any]], kernel: Any) -> Any:
    """Implement an operator once the unit has defined it, or a shared one when the unit's import ends.

    Args:
        unit: whose code implements it.
        name: the operator, which the process has from a plain import of the same package, or from another library.
        implement: returns the decorator that implements the shared operator, or else the unit's own.
        kernel: what implements it, None where that will be decorated.
    """

    def postpone(kernel: Any) -> None:
        def settle(last: bool) -> bool:
            shared = _is_shared(unit, name)
            if last or not shared:
                implement(shared)(kernel)
            return last or not shared

        unit.postponed.append(settle)

    return postpone if kernel is None else postpone(kernel)


def _is_defined(name: str) -> bool:
    """Whether the process has an operator of that name."""
    operator, _, overload = name.partition(".")
    try:
        importlib.import_module("torch")._C._dispatch_find_schema_or_throw(operator, overload)
    except RuntimeError:
        return False
    return True


def _is_defined_in_python(name: str) -> bool:
    return name in getattr(importlib.import_module("torch.library"), "_defs", ())


def _is_shared(unit: Unit, name: Any) -> bool:
    return isinstance(name, str) and "::" in name and own_operator(unit, name) == name


def _claim_shared(unit: Unit, table: str, key: str, content: Any) -> None:
    """Ask the ledger for a place of an operator that belongs to everyone.

    Raises:
        RegistrationConflictError: another unit registered something else there.
    """
    from app_loader.isolated._ledger import ABSENT, claim

    current = _shared_kernels.get((table, key), ABSENT)
    claim(unit, _shared_kernels, key, content, current=current, table=table)
    _shared_kernels[table, key] = content


def _claim(unit: Unit, name: Any) -> None:
    if isinstance(name, str) and "::" in name:
        unit.operators.add(name.partition("(")[0].partition(".")[0])
