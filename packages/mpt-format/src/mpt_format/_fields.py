"""Typed access to a JSON object that collects problems instead of stopping at the first.

A wrong or missing field gives a neutral value and a problem; whoever owns the list raises in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from mpt_format.errors import ArchiveProblem
from mpt_format.format import MAX_DIMENSIONS, MAX_NAME_CHARACTERS
from mpt_format.strict_json import Json, validate_json

T = TypeVar("T")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LIMIT = 1000  # more problems than anyone reads; bounds the memory of a hostile manifest


class Fields:
    """The fields of one object.

    Attributes:
        keeps_unknown: whether fields that were not asked for are kept (a newer revision) or problems.
    """

    __slots__ = ("_asked", "_problems", "_value", "_where", "keeps_unknown")

    def __init__(self, value: Json, where: str, problems: list[ArchiveProblem], *, keeps_unknown: bool = False) -> None:
        self._where = where
        self._problems = problems
        self._asked: set[str] = set()
        self.keeps_unknown = keeps_unknown
        if isinstance(value, dict):
            self._value = value
        else:
            self._value = {}
            problems.append(ArchiveProblem(where=where.rstrip(":. "), message="is not an object"))
            self.keeps_unknown = True

    def problem(self, key: str, message: str) -> None:
        """Note a defect of one field."""
        if len(self._problems) < _LIMIT:
            self._problems.append(ArchiveProblem(where=f"{self._where}{key}", message=message))

    def _get(self, key: str) -> Json:
        self._asked.add(key)
        return self._value.get(key)

    def text(self, key: str) -> str:
        value = self._get(key)
        if type(value) is str and value and not _CONTROL.search(value):
            return value
        self.problem(key, f"is {_show(value)}, expected a text in one line")
        return ""

    def optional_text(self, key: str) -> str | None:
        return None if self._get(key) is None else self.text(key)

    def optional_flag(self, key: str) -> bool | None:
        value = self._get(key)
        if value is None or type(value) is bool:
            return value
        self.problem(key, f"is {_show(value)}, expected true or false")
        return None

    def integer(self, key: str, *, minimum: int | None = None) -> int:
        value = self._get(key)
        if type(value) is int and is_narrow(value) and (minimum is None or value >= minimum):
            return value
        expected = "an integer" if minimum is None else f"an integer of at least {minimum}"
        self.problem(key, f"is {_show(value)}, expected {expected}")
        return minimum or 0

    def optional_integer(self, key: str) -> int | None:
        return None if self._get(key) is None else self.integer(key)

    def choice(self, key: str, choices: Collection[str]) -> str:
        value = self._get(key)
        if type(value) is str and value in choices:
            return value
        self.problem(key, f"is {_show(value)}, expected one of {', '.join(choices)}")
        return next(iter(choices))

    def digest(self, key: str) -> str:
        value = self._get(key)
        if type(value) is str and _DIGEST.fullmatch(value):
            return value
        self.problem(key, f"is {_show(value)}, expected a sha256 of 64 hex digits")
        return ""

    def optional_digest(self, key: str) -> str | None:
        return None if self._get(key) is None else self.digest(key)

    def counts(self, key: str) -> tuple[int, ...]:
        value = self._get(key)
        if (
            isinstance(value, list)
            and len(value) <= MAX_DIMENSIONS
            and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
        ):
            return tuple(value)  # type: ignore[arg-type]
        self.problem(key, f"is {_show(value)}, expected a short list of lengths")
        return ()

    def optional_counts(self, key: str) -> tuple[int, ...] | None:
        return None if self._get(key) is None else self.counts(key)

    def mapping(self, key: str) -> dict[str, Json]:
        value = self._get(key)
        if value is None:
            return {}
        if isinstance(value, dict):
            self._problems.extend(validate_json(value, where=f"{self._where}{key}"))
            return value
        self.problem(key, f"is {_show(value)}, expected an object")
        return {}

    def optional_mapping(self, key: str) -> dict[str, Json] | None:
        return None if self._get(key) is None else self.mapping(key)

    def texts(self, key: str) -> dict[str, str]:
        result: dict[str, str] = {}
        for name, value in self.mapping(key).items():
            if type(value) is str:
                result[name] = value
            else:
                self.problem(f"{key}[{name!r:.80}]", f"is {_show(value)}, expected a text")
        return result

    def optional_record(self, key: str, parse: Callable[[Fields], T]) -> T | None:
        value = self._get(key)
        if value is None:
            return None
        return parse(self._inner(value, f"{self._where}{key}."))

    def table(self, key: str, parse: Callable[[Fields], T]) -> dict[str, T]:
        return self.named_table(key, lambda _, entry: parse(entry))

    def named_table(
        self,
        key: str,
        parse: Callable[[str, Fields], T],
        find_plain: Callable[[str, Json], T | None] = lambda name, entry: None,
    ) -> dict[str, T]:
        """Return the records of an object by name; `find_plain` is tried first, a fast way for sound entries."""
        value = self._get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problem(key, f"is {_show(value)}, expected an object")
            return {}
        result: dict[str, T] = {}
        for name, entry in value.items():
            if len(name) > MAX_NAME_CHARACTERS or not (name.isprintable() or _CONTROL.search(name) is None):
                self.problem(f"{key}[{name[:40]!r}]", "is not a name: control characters or too long")
                continue
            plain = find_plain(name, entry)
            if plain is not None:
                result[name] = plain
                continue
            result[name] = parse(name, self._inner(entry, f"{self._where}{key}[{name!r:.120}]."))
        return result

    def rest(self) -> Mapping[str, Json]:
        """Return the fields that were not asked for, or note them as problems."""
        if self._asked >= self._value.keys():
            return {}
        unknown = {key: value for key, value in self._value.items() if key not in self._asked}
        if not self.keeps_unknown:
            for key in unknown:
                self.problem(key[:80], "is not a field of this format")
            return {}
        for key, value in unknown.items():
            self._problems.extend(validate_json(value, where=f"{self._where}{key[:80]}"))
        return unknown

    def _inner(self, value: Json, where: str) -> Fields:
        return Fields(value, where, self._problems, keeps_unknown=self.keeps_unknown)


def is_digest(text: str) -> bool:
    """Tell whether the text is a sha256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


def is_narrow(value: int) -> bool:
    """Tell whether an integer fits into 64 bits, signed."""
    return -(1 << 63) <= value < 1 << 63


def _show(value: Json) -> str:
    return "missing" if value is None else f"{value!r:.60}"
