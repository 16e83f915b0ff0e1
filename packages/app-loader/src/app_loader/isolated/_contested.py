"""One entry of a shared table for which several units registered different things: each unit's code reaches its own.

The table gets a stand-in, which asks at each use whose code is nearest on the stack, and then whose objects it was
given. Where neither tells, it gives what stood there before any unit, and refuses to guess where nothing did: an error
is better than another version's number. Compilers that need the whole program at once (strict export, `fullgraph=True`,
TorchScript) cannot follow the question, and say so.

Functions, classes and members of classes (properties, class and static methods) can be told apart in this way. What a
unit put in place of a function of a shared module or class (`torch.compile = capturing(torch.compile)`) is kept per
unit too; one that wraps what it found wraps what was there before any unit.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Literal

from app_loader.errors import RegistrationConflictError
from app_loader.isolated._from_dynamo import keep_from_dynamo
from app_loader.isolated._names import PREFIX
from app_loader.isolated._same import same
from app_loader.isolated._unit import Unit

Kind = Literal["function", "class", "member"]
_ATTRIBUTE = "_mpt_contested"
_TRACER = "torch._dynamo.symbolic_convert"
_DEPENDS = "which version's function or class is meant depends on whose code calls"
_lock = threading.Lock()


class Contested:
    """What stands for one entry, by unit.

    Attributes:
        table: the table's name.
        name: the entry's name.
        own: what each unit put there.
        plain: what code of no unit gets, None to refuse it.
        alike: whether all of it is the same content, so that code of no unit may get any.
        stand_in: what stands in the table.
    """

    def __init__(self, table: str, name: str, kind: Kind, plain: Any = None) -> None:
        self.table = table
        self.name = name
        self.kind = kind
        self.plain: Any = plain
        self.alike = True
        self.own: dict[str, tuple[Unit, Any]] = {}
        self.stand_in: Any = _STAND_INS[kind](self)

    def add(self, unit: Unit, value: Any) -> None:
        """Give a unit its own."""
        with _lock:
            self.alike = self.alike and all(same(each, value) for _, each in self.own.values())
            self.own[unit.identifier] = (unit, value)

    def remove(self, unit: Unit) -> None:
        """Forget what a unit had."""
        with _lock:
            self.own.pop(unit.identifier, None)

    def values(self) -> list[Any]:
        """Return everything that may be meant."""
        found = [value for _, value in self.own.values()]
        return found if self.plain is None else [*found, self.plain]

    def choose(self, given: Iterable[Any] = ()) -> Any:
        """Return what the unit has whose code is nearest on the stack, or else whose objects are given.

        Raises:
            RegistrationConflictError: neither tells, nothing stood there before, and units have different things.
            torch._dynamo.exc.Unsupported: Dynamo asks, which then lets the code itself ask.
        """
        frame: Any = sys._getframe(1)
        while frame is not None:
            name = frame.f_globals.get("__name__")
            found = self._of(name)
            if found is not None:
                return found[1]
            if name == _TRACER:  # the code that asks is not on the stack while Dynamo reads it
                raise importlib.import_module("torch._dynamo.exc").Unsupported(_DEPENDS)
            frame = frame.f_back
        for value in given:
            for kind in value.__mro__ if issubclass(type(value), type) else type(value).__mro__:
                found = self._of(kind.__module__)
                if found is not None:
                    return found[1]
        if self.plain is not None:
            return self.plain
        units = [unit for unit, _ in self.own.values()]
        if len(units) == 1 or self.alike:
            return self.own[units[0].identifier][1]
        raise RegistrationConflictError(
            "code that belongs to no version",
            table=self.table,
            name=self.name,
            holder=" and ".join(f"{unit.distribution} {unit.version}" for unit in units),
        )

    def _of(self, module: Any) -> tuple[Unit, Any] | None:
        if not isinstance(module, str) or not module.startswith(PREFIX):
            return None
        return self.own.get(module[len(PREFIX) :].partition(".")[0])


def kind_of(value: Any) -> Kind | None:
    """Return as what a value can be contested, None for what can only be refused."""
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | functools.partial):
        return "function"
    if isinstance(value, property | classmethod | staticmethod):
        return "member"
    return "class" if isinstance(value, type) else None


def contested(value: Any) -> Contested | None:
    """Return the contest that a value of a table stands for, None for an ordinary value."""
    holder = value.fget if type(value) is property else value
    if type(holder) not in (FunctionType, _ClassStandIn):
        return None
    found = getattr(holder, _ATTRIBUTE, None)
    return found if isinstance(found, Contested) else None


def rewrap(function: Any, found: Any, original: Any) -> None:
    """Let a function that wraps what it found wrap the original instead.

    A function holds what it wraps in its closure, its defaults, or a global that it names.
    """
    if not isinstance(function, FunctionType):
        return
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            if cell.cell_contents is found:
                cell.cell_contents = original
    if function.__defaults__ and any(value is found for value in function.__defaults__):
        function.__defaults__ = tuple(original if value is found else value for value in function.__defaults__)
    for name in function.__code__.co_names:
        if function.__globals__.get(name) is found:
            function.__globals__[name] = original


def _function_stand_in(contest: Contested) -> Callable[..., Any]:
    def contested(*arguments: Any, **options: Any) -> Any:
        return contest.choose((*arguments, *options.values()))(*arguments, **options)

    if contest.plain is not None:
        with contextlib.suppress(AttributeError):
            functools.update_wrapper(contested, contest.plain)
        for name in ("__wrapped__", "_torchdynamo_orig_callable"):  # compilers would look through to the original
            vars(contested).pop(name, None)
        with contextlib.suppress(TypeError, ValueError):  # a function of C may tell nothing
            vars(contested)["__signature__"] = inspect.signature(contest.plain)
    setattr(contested, _ATTRIBUTE, contest)
    keep_from_dynamo(contested, because=_DEPENDS)
    return contested


def _member_stand_in(contest: Contested) -> property:
    """Return a property that asks the chosen member, whatever kind of member that is."""

    def get(instance: Any) -> Any:
        return contest.choose((instance,)).__get__(instance, type(instance))

    def set_(instance: Any, value: Any) -> None:
        contest.choose((instance, value)).__set__(instance, value)

    def delete(instance: Any) -> None:
        contest.choose((instance,)).__delete__(instance)

    setattr(get, _ATTRIBUTE, contest)
    keep_from_dynamo(get, set_, delete, because=_DEPENDS)
    return property(get, set_, delete)


class _ClassStandIn:
    """Stands for a class: it is called, subclassed, asked for attributes and in `isinstance` as that class is."""

    def __init__(self, contest: Contested) -> None:
        vars(self)[_ATTRIBUTE] = contest

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _contest(self).choose((*arguments, *options.values()))(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(_contest(self).choose(), name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (_contest(self).choose(),)

    def __instancecheck__(self, value: object) -> bool:
        return any(isinstance(value, kind) for kind in _contest(self).values())

    def __subclasscheck__(self, kind: type) -> bool:
        return any(issubclass(kind, each) for each in _contest(self).values())

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (_contest(self).choose(),)

    def __repr__(self) -> str:
        contest = _contest(self)
        return f"<{contest.name} of {contest.table}: a class per version>"

    @property  # type: ignore[misc]  # so that `isinstance(it, type)` holds
    def __class__(self) -> Any:
        return type(_contest(self).values()[0])

    @property
    def __bases__(self) -> tuple[type, ...]:
        return (_contest(self).choose(),)


def _contest(stand_in: _ClassStandIn) -> Contested:
    found: Contested = vars(stand_in)[_ATTRIBUTE]
    return found


def _itself(value: Any) -> Any:
    return value


keep_from_dynamo(Contested.choose, Contested._of, because=_DEPENDS)
_STAND_INS: dict[Kind, Any] = {"function": _function_stand_in, "class": _ClassStandIn, "member": _member_stand_in}
