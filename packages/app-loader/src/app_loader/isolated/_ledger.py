"""What units wrote into things that belong to the whole process, and the refusal of a second unit that differs.

A process has one `torch.nn.Linear.forward`, one table of KL divergences, one resolver of a name. The first unit to
write there holds the place. A unit that would write the same content may. Of functions and classes in a table, and of
functions in place of shared ones, each unit's own code reaches its own (`_contested`); anywhere else, a unit that would
write something different is refused by name before anything changed. What a plain import of the same package wrote is
the application's version of it, and stays the application's. Nothing is searched for: the code that writes is rewritten
to report here (`_writes`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn

from app_loader.errors import RegistrationConflictError
from app_loader.isolated._contested import Contested, contested, kind_of, rewrap
from app_loader.isolated._names import PREFIX
from app_loader.isolated._same import same
from app_loader.isolated._tripwires import Effect
from app_loader.isolated._unit import Unit
from app_loader.isolated._units import find_known_unit

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "nothing"})()
_log = logging.getLogger("app_loader.isolated")
lock = threading.RLock()
"""Held while a place is asked for and written to."""
_claims: dict[tuple[int, Hashable], _Claim] = {}


@dataclass(slots=True)
class _Claim:
    unit: Unit
    owner: Any  # held, so that its id stays its own
    value: Any
    before: Any
    put_back: Callable[[Any], None] | None
    what: str
    twins: list[tuple[Unit, Any]] = field(default_factory=list)  # units that wrote the same, with what they wrote


def claim(
    unit: Unit,
    owner: Any,
    key: Hashable,
    value: Any,
    *,
    current: Any,
    table: str,
    put_back: Callable[[Any], None] | None = None,
    routed: bool = False,
    new_routed: bool = False,
) -> Any:
    """Record that a unit writes `value` under `key` of `owner`, where `current` stands; return what has to stand there.

    Args:
        unit: who writes.
        owner: what is written to.
        key: the place in it.
        value: what will stand there.
        current: what stands there; `ABSENT` for nothing.
        table: the owner, for people.
        put_back: writes a former value to the place, or removes it for `ABSENT`.
        routed: whether different functions or classes of several units may stand there, each reached by its own unit,
            and by no other code.
        new_routed: the same, where nothing stood before: no shared code knows the name.

    Raises:
        RegistrationConflictError: another unit holds the place with other content.
    """
    with lock:
        place = (id(owner), key)
        held = _claims.get(place)
        if held is not None and held.value is not current:
            held = None  # somebody wrote there since, or took it away, in a way that is not seen here
        if value is current:
            return value
        value = _taken_over(unit, value)
        contest = contested(current)
        if contest is not None and contest.kind == kind_of(value):
            if contest.plain is not None:
                rewrap(value, current, contest.plain)
            contest.add(unit, value)
            return current
        before = held.before if held is not None else current
        holder = held.unit if held is not None else unit_of(current)
        plain_twin = holder is None and _is_plain_twin(unit, current)
        kind = kind_of(value)
        if plain_twin or holder not in (None, unit):
            # Of the same content the holder's stays; but each version's classes are compared with its own.
            if (kind != "class" or not routed) and same(held.value if held else current, value):
                if held is not None:
                    held.twins.append((unit, value))
                return current
            before = current if plain_twin else before if held is not None else ABSENT
            added = new_routed and before is ABSENT
            plain = before if plain_twin or not (routed or added) else None
            replaced = kind in ("function", "member") and kind_of(before) == kind
            what = f"{table}: {_shown(key)}"
            if kind is not None and kind_of(current) == kind and (routed or added or replaced):
                contest = Contested(table, _shown(key), kind, plain)
                if holder is not None:
                    contest.add(holder, current)
                if plain is not None:
                    rewrap(value, current, plain)
                    _tell_of_contest(what, holder, unit)
                contest.add(unit, value)
                _claims[place] = _Claim(holder or unit, owner, contest.stand_in, before, put_back, what)
                return contest.stand_in
            if holder is not None:
                _refuse(unit, table=table, key=key, holder=holder)
        if _is_same_object(value, before) or (before is ABSENT and _is_inherited(owner, key, value)):
            _claims.pop(place, None)  # a temporary change is over
            return value
        what = f"{table}: {_shown(key)}"
        _claims[place] = _Claim(unit, owner, value, before, put_back, what)
        if before is not ABSENT and held is None and unit_of(before) is None:
            effect = Effect(
                what=f"{table}.{key}" if isinstance(key, str) else what,
                before=_told(before),
                after=_told(value),
                restored=False,
            )
            unit.effects.append(effect)
            _log.warning("%s %s changed %s", unit.distribution, unit.version, effect)
        return value


def _refuse(unit: Unit, *, table: str, key: Hashable, holder: Unit) -> NoReturn:
    error = RegistrationConflictError(
        f"{unit.distribution} {unit.version}",
        table=table,
        name=_shown(key),
        holder=f"{holder.distribution} {holder.version}",
    )
    if unit.importing:
        unit.conflicts.append(error)  # old code may catch whatever registering raises
    raise error


def _tell_of_contest(what: str, holder: Unit | None, unit: Unit) -> None:
    first = f"{holder.distribution} {holder.version}" if holder is not None else "the one that is imported plainly"
    text = "%s: %s and %s %s each replace it for their own code; other code calls what was there before"
    _log.warning(text, what, first, unit.distribution, unit.version)


def _taken_over(unit: Unit, value: Any) -> Any:
    """Return what a version means that keeps aside what it found: what was there before any other version."""
    contest = contested(value)
    if contest is not None and contest.plain is not None:
        return contest.plain
    if contest is None and unit_of(value) not in (None, unit):
        for held in _claims.values():
            if held.value is value and held.unit is not unit and held.before is not ABSENT:
                return held.before
    return value


def _is_plain_twin(unit: Unit, current: Any) -> bool:
    """Whether a value comes from a plain import of what the unit is a version of."""
    module = getattr(current, "__module__", None)
    return kind_of(current) is not None and isinstance(module, str) and unit.owns(module)


def holder_of(owner: Any, key: Hashable, current: Any) -> Unit | None:
    """Return the unit whose value stands under a key, None where none's does."""
    held = _claims.get((id(owner), key))
    return held.unit if held is not None and held.value is current else unit_of(current)


def withdraw(unit: Unit) -> list[str]:
    """Take out again what a unit wrote, wherever it still stands as written; return which places those are."""
    found = []
    with lock:
        for place, held in reversed(list(_claims.items())):
            contest = contested(held.value)
            if contest is not None:
                contest.remove(unit)
            held.twins = [(other, value) for other, value in held.twins if other is not unit]
            if contest is None and held.unit is unit and held.twins:
                held.unit, held.value = held.twins.pop(0)
                if held.put_back is not None:
                    held.put_back(held.value)
            elif not contest.own if contest is not None else held.unit is unit:
                del _claims[place]
                if held.put_back is not None:
                    held.put_back(held.before)
                    found.append(held.what)
    return found


def unit_of(value: Any) -> Unit | None:
    """Return the unit that made a function, class or object, None for what no unit of this process made."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str):
        module = getattr(getattr(value, "__func__", None), "__module__", None) or type(value).__module__
    if not isinstance(module, str) or not module.startswith(PREFIX):
        return None
    return find_known_unit(module[len(PREFIX) :].partition(".")[0])


def is_own(unit: Unit, owner: Any) -> bool:
    """Whether a module or class belongs to the unit itself."""
    name = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", "")
    return isinstance(name, str) and name.startswith(f"{unit.prefix}.")


def _is_same_object(one: Any, other: Any) -> bool:
    """Whether two values are one, also where one was taken from a class and so is bound."""
    return getattr(one, "__func__", one) is getattr(other, "__func__", other)


def _is_inherited(owner: Any, key: Hashable, value: Any) -> bool:
    """Whether a class would give the same without the entry."""
    if not isinstance(owner, type) or not isinstance(key, str):
        return False
    return any(vars(base).get(key, ABSENT) is value for base in owner.__mro__[1:])


def _shown(key: Hashable) -> str:
    if isinstance(key, tuple):
        return ", ".join(map(_shown, key))
    return key if isinstance(key, str) else str(getattr(key, "__qualname__", repr(key)))


def _told(value: Any) -> str:
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if name else repr(value)[:80]
