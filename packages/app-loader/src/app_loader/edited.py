"""Source that was edited after it was imported: what runs is then not what lies on the disk.

A training run of an editable tree takes hours, and people go on working. A digest taken at the end would pin files
that never ran, so it must not be recorded. Only the classes that a policy is made of are looked at, and only their
functions: an edited constant of a module is not seen.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType


class EditedSourceWarning(UserWarning):
    """A policy was saved after the source of its classes was edited; the archive does not pin its code."""


def find_edited(classes: Iterable[type]) -> list[str]:
    """Return the files whose code differs from the classes' functions in memory, sorted.

    Args:
        classes: of the policy, its modules and its architecture; those without a source file are passed over.
    """
    edited = set()
    for cls in classes:
        file = getattr(importlib.import_module(cls.__module__), "__file__", None)
        if file is None or not file.endswith(".py"):
            continue
        written = _written(Path(file))
        if any(written.get(code.co_qualname) != code for code in _live(cls, file)):
            edited.add(file)
    return sorted(edited)


def _live(cls: type, file: str) -> Iterator[CodeType]:
    """Yield the code of the functions that a class's own file defines in its body."""
    for value in vars(cls).values():
        held = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        function = inspect.unwrap(held) if callable(held) else held
        if isinstance(function, FunctionType) and function.__code__.co_filename == file:
            code = function.__code__
            if code.co_qualname == f"{cls.__qualname__}.{code.co_name}":  # not made by a decorator or a library
                yield code


@cache
def _read(file: Path, mtime_ns: int) -> dict[str, CodeType]:
    try:
        top = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return {}  # no longer there, or half edited: everything differs
    found: dict[str, CodeType] = {}
    left = [top]
    while left:
        code = left.pop()
        found[code.co_qualname] = code
        left.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
    return found


def _written(file: Path) -> dict[str, CodeType]:
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return {}
