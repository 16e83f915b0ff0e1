"""Strict JSON: what every JSON text in an archive is parsed and written with.

Refuses what readers disagree about: duplicate keys, NaN and Infinity, numbers that overflow, integers beyond 64 bits,
a byte order mark, unpaired surrogates, absurd nesting; and what costs memory: too many bytes, values, containers.

Source: RFC 8259; I-JSON (RFC 7493) for duplicate keys, surrogates and number ranges (64-bit integers are kept here).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import NoReturn, TypeAlias, cast

from mpt_format.errors import ArchiveProblem, MalformedDocumentError
from mpt_format.format import MAX_CONTAINERS, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_TEXT_NODES

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_INTEGER_MIN = -(1 << 63)
_INTEGER_MAX = (1 << 64) - 1
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """Raised inside the hooks; becomes a MalformedDocumentError."""


def parse_json(data: bytes, *, subject: str, max_bytes: int = MAX_DOCUMENT_BYTES, is_table: bool = False) -> Json:
    """Parse one strict JSON text.

    Args:
        data: the bytes, UTF-8.
        subject: the member's name, for errors.
        max_bytes: refuse longer texts.
        is_table: a large text whose every value the caller judges by `validate_json` or by its own types: nesting and
            overflow are left to it, which is several times faster. Duplicate keys are refused all the same.

    Raises:
        MalformedDocumentError: not strict JSON, or beyond a limit.
    """

    def refuse(message: str) -> NoReturn:
        raise MalformedDocumentError(None, [ArchiveProblem(where=subject, message=message)])

    if len(data) > max_bytes:
        refuse(f"has {len(data)} bytes, at most {max_bytes} are allowed")
    if data.startswith(b"\xef\xbb\xbf"):
        refuse("begins with a byte order mark")
    if data.count(b"{") + data.count(b"[") > MAX_CONTAINERS:
        refuse(f"holds more than {MAX_CONTAINERS} objects and arrays")
    if data.count(b",") + data.count(b":") > MAX_TEXT_NODES:
        refuse(f"holds more than {MAX_TEXT_NODES} values")
    try:
        text = data.decode("utf-8")
        value: Json = _TABLE_DECODER.decode(text) if is_table else _DECODER.decode(text)
    except RecursionError:
        refuse(f"is nested deeper than {MAX_DEPTH} levels")
    except _RefusedError as error:
        refuse(str(error))
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError
        refuse(f"is not JSON: {error}")
    if not is_table or _SURROGATE.search(data):
        problems = list(validate_json(value, where=subject))
        if problems:
            raise MalformedDocumentError(None, problems)
    return value


def format_json(value: Json) -> bytes:
    """Return the one canonical text of a value: given key order, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: the value is not strict JSON; call `validate_json` first for the list of offenders.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def validate_json(value: object, *, where: str, max_depth: int = MAX_DEPTH) -> Iterator[ArchiveProblem]:
    """Yield every place at which a Python value is not exactly strict JSON.

    Tuples, numpy scalars, enums and subclasses of str, int, dict are problems: they would come back as something else.
    """
    pending: list[tuple[object, str, int]] = [(value, where, 0)]
    while pending:
        node, path, depth = pending.pop()
        kind = type(node)
        if node is None or kind is bool:
            continue
        if depth > max_depth:
            yield ArchiveProblem(where=path, message=f"is nested deeper than {max_depth} levels")
        elif kind is str:
            if not _is_encodable(node):
                yield ArchiveProblem(where=path, message="holds an unpaired surrogate")
        elif kind is int:
            if not _INTEGER_MIN <= node <= _INTEGER_MAX:  # type: ignore[operator]
                yield ArchiveProblem(where=path, message="is an integer beyond 64 bits")
        elif kind is float:
            if not math.isfinite(node):  # type: ignore[arg-type]
                yield ArchiveProblem(where=path, message=f"is {node}, which JSON cannot say; use None or a text")
        elif kind is list:
            pending.extend(
                (item, f"{path}[{index}]", depth + 1)
                for index, item in reversed(list(enumerate(cast("list[object]", node))))
            )
        elif kind is dict:
            children: list[tuple[object, str, int]] = []
            for key, item in cast("dict[object, object]", node).items():
                if type(key) is not str:
                    yield ArchiveProblem(
                        where=path, message=f"has a key of type {_name(key)}: {key!r:.60}; keys are str"
                    )
                elif not _is_encodable(key):
                    yield ArchiveProblem(where=path, message="has a key with an unpaired surrogate")
                else:
                    children.append((item, f"{path}[{key!r:.80}]", depth + 1))
            pending.extend(reversed(children))
        else:
            hint = "; use list(...)" if isinstance(node, (tuple, set, frozenset)) else ""
            yield ArchiveProblem(where=path, message=f"is a {_name(node)}, which is not JSON{hint}")


def _name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_encodable(text: object) -> bool:
    try:
        str(text).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError(f"has the key {key!r:.80} twice in one object")
            seen.add(key)
    return result


def _integer(text: str) -> int:
    if len(text) <= 20:
        value = int(text)
        if _INTEGER_MIN <= value <= _INTEGER_MAX:
            return value
    raise _RefusedError(f"holds an integer beyond 64 bits: {text[:24]}...")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"holds a number that overflows: {text[:24]}")
    return value


def _constant(text: str) -> NoReturn:
    raise _RefusedError(f"holds {text}, which is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_constant
)
_TABLE_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
