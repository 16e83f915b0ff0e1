"""What rewritten code calls where it writes into things of the process: each write asks the ledger first.

Asking and writing are one step: no other thread asks between them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Hashable, Iterator, MutableMapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from app_loader.errors import RegistrationConflictError
from app_loader.isolated import _ledger
from app_loader.isolated._ledger import ABSENT, claim
from app_loader.isolated._names import original_name
from app_loader.isolated._reach import Absent, Table, tables_of
from app_loader.isolated._shim_module import ShimModule
from app_loader.isolated._unit import Unit

_CHAINED = frozenset({"__subclasshook__"})
"""A hook that is asked about one class after another answers for its own version's, and asks the one it found."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_PATIENCE_S = 10.0
_registering = threading.RLock()
"""Held while something is registered or written, and what that did is looked at."""


def write_shared(unit: Unit, value: Any, owner: Any, key: Any, kind: str) -> Any:
    """Write a value to an attribute or item of something shared; return what stands there then.

    Args:
        unit: whose code writes.
        value: what it writes.
        owner: what it writes to.
        key: the attribute's name, or the item's key.
        kind: ``attribute`` or ``item``.

    Raises:
        RegistrationConflictError: another unit holds that place with other content; nothing was written.
    """
    if (kind == "attribute" and key in _CHAINED) or (isinstance(value, _PLAIN) and not unit.importing):
        # A setting made while the program runs, as a seed is, is no registration; compilers follow it to the write.
        return _put(owner, key, value, kind)
    with _alone(), _ledger.lock:
        return _put(owner, key, _asked(unit, value, owner, key, kind), kind)


def _put(owner: Any, key: Any, value: Any, kind: str) -> Any:
    if kind == "attribute":
        setattr(owner, key, value)
    else:
        owner[key] = value
    return value


def _asked(unit: Unit, value: Any, owner: Any, key: Any, kind: str) -> Any:
    """Return what has to stand where a value is about to be written."""
    if isinstance(owner, ShimModule):
        if key in vars(owner):
            return value  # the unit's own
        owner = sys.modules.get(vars(owner)["_real_name"], owner)
    if kind == "attribute":
        current = vars(owner).get(key, ABSENT) if hasattr(owner, "__dict__") else getattr(owner, key, ABSENT)

        def put_back(former: Any) -> None:
            if former is not ABSENT:
                setattr(owner, key, former)
            elif key in getattr(owner, "__dict__", (key,)):  # the code may have taken it away itself
                delattr(owner, key)
    else:
        if not isinstance(owner, MutableMapping):  # a list has places and no names
            return value
        current = owner.get(key, ABSENT)

        def put_back(former: Any) -> None:
            if former is ABSENT:
                owner.pop(key, None)
            else:
                owner[key] = former

    if not _ledger.is_own(unit, owner):
        return claim(
            unit,
            owner,
            key,
            value,
            current=current,
            table=_label(owner),
            put_back=put_back,
            routed=kind == "item",
            new_routed=True,
        )
    return value


def registering(unit: Unit, called: Any, *, returned: bool = False) -> Any:
    """Return a function that registers: what it changes in the tables that it can reach is asked for.

    A decorator that it returns is followed in the same way. Once the unit is imported, only a function whose name says
    that it registers is, with the decorator that it `returned`: `update` and the like belong to ordinary work then.
    """
    if not unit.importing and not returned and "regist" not in getattr(called, "__name__", "").lower():
        return called

    def register(*arguments: Any, **options: Any) -> Any:
        given = (*arguments, *options.values())
        with _alone():
            if isinstance(called, BuiltinFunctionType):
                _claim_in_c(unit, called, given)
                return called(*arguments, **options)
            result = _watched(unit, called, arguments, options)
        if returned or any(isinstance(each, FunctionType) and _ledger.unit_of(each) is unit for each in given):
            return result  # what was decorated, whatever stands for it now
        made_here = isinstance(result, FunctionType | functools.partial) and _ledger.unit_of(result) is None
        return registering(unit, result, returned=True) if made_here and result not in given else result

    return register


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no other thread register during a block, if that is to be had soon.

    A function that registers may wait for a module that a thread imports which waits here: no wait is for ever.
    """
    alone = _registering.acquire(timeout=_PATIENCE_S)
    try:
        yield
    finally:
        if alone:
            _registering.release()


def _watched(unit: Unit, called: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    given = _flat((*arguments, *options.values()))
    tables = tables_of(called, (*arguments, *options.values()))
    try:
        result = called(*arguments, **options)
    except Exception:
        others = [(table, key) for table in tables for key in table.before if _holder(table, key) not in (None, unit)]
        if not others or not unit.importing:
            raise
        for table, key in others:  # without what other units hold, what would this one put there?
            table.content.pop(key, None)
        try:
            result = called(*arguments, **options)
        except Exception:
            _put_back(tables)
            raise
        for table, key in others:
            table.content.setdefault(key, table.before[key])
    try:
        for table in tables:
            for key, before, now in table.changed():
                if _belongs(unit, key, now, given):
                    _claim_entry(unit, table, key, now, before)
    except RegistrationConflictError:
        _put_back(tables)
        raise
    return result


def _claim_entry(unit: Unit, table: Table, key: Any, now: Any, before: Any) -> None:
    def put_back(former: Any) -> None:
        if former is ABSENT:
            table.content.pop(key, None)
        else:
            table.content[key] = former

    current = ABSENT if before is Absent else before
    stands = claim(unit, table.content, key, now, current=current, table=table.label, put_back=put_back, routed=True)
    if stands is not now:
        table.content[key] = stands


def _claim_in_c(unit: Unit, called: Any, given: tuple[Any, ...]) -> None:
    """Claim a name in a table of C code, which cannot be looked at: `codecs.register_error("name", handler)`."""
    names = [value for value in given if isinstance(value, str)]
    if not names and getattr(called, "__module__", "") == "_codecs":  # codecs are found by asking each function in turn
        names = [original_name(f"{function.__module__}.{function.__qualname__}") for function in given]
    content = tuple(value for value in given if value not in names)
    for name in names[:1]:
        table = f"{called.__module__}.{called.__qualname__}"
        current = _c_tables.get((table, name), ABSENT)
        claim(unit, _c_tables, name, content, current=current, table=table)
        _c_tables[table, name] = content


_c_tables: dict[tuple[str, str], Any] = {}


def _holder(table: Table, key: Any) -> Unit | None:
    return _ledger.holder_of(table.content, key, table.before[key])


def _belongs(unit: Unit, key: Any, value: Any, given: list[Any]) -> bool:
    """Whether an entry is what the call was asked to make, and not a counter or a cache that it kept."""
    return any(value is each for each in given) or key in _hashable(given) or _ledger.unit_of(value) is unit


def _put_back(tables: list[Table]) -> None:
    for table in tables:
        table.content.clear()
        table.content.update(table.before)


def _flat(values: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found.append(value)
        if isinstance(value, list | tuple):
            found.extend(value)
    return found


def _hashable(values: list[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, Hashable) and not isinstance(value, tuple)]


def _label(owner: Any) -> str:
    if isinstance(owner, ModuleType):
        return owner.__name__
    kind = owner if isinstance(owner, type) else type(owner)
    return f"{kind.__module__}.{kind.__qualname__}"
