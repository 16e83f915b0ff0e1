"""Two JSON schemas compared as a reader would: does the new one still take every document of the old one, alike?

Titles and descriptions do not count. A narrowed schema or a changed default breaks; a widened one adds.
Source: JSON Schema draft 2020-12, as pydantic writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.release.promises.change import Bump, Change

Schema = Mapping[str, Any]

_NOTES = frozenset({"title", "description", "examples", "$defs", "discriminator"})
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def compare_schemas(promise: str, where: str, old: Schema, new: Schema) -> Iterator[Change]:
    """Yield what differs between two schemas; `where` is put before every path."""
    for path, what, bump in _Comparison(old, new).differences():
        yield Change(promise=promise, where=where + path, what=what, bump=bump)


Difference = tuple[str, str, Bump]


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self.old, self.new = old, new
        self.entered: set[tuple[str, str]] = set()

    def differences(self) -> Iterator[Difference]:
        yield from self._nodes("", self.old, self.new)

    def _nodes(self, path: str, old: Schema, new: Schema) -> Iterator[Difference]:
        references = (old.get("$ref", ""), new.get("$ref", ""))
        if all(references):
            if references in self.entered:  # a recursive schema
                return
            self.entered = self.entered | {references}
        old, new = _resolve(self.old, old), _resolve(self.new, new)
        yield from self._properties(path, old, new)
        for key in sorted((old.keys() | new.keys()) - _NOTES - {"properties", "required"}):
            if old.get(key, _ABSENT) != new.get(key, _ABSENT):
                yield from self._keyword(path, key, old.get(key, _ABSENT), new.get(key, _ABSENT))

    def _properties(self, path: str, old: Schema, new: Schema) -> Iterator[Difference]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required = set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{path}.{name}", "field removed", Bump.MAJOR
                continue
            if name in required - set(old.get("required", ())):
                yield f"{path}.{name}", "now required", Bump.MAJOR
            yield from self._nodes(f"{path}.{name}", before[name], after[name])
        for name in after:
            if name not in before:
                bump = Bump.MAJOR if name in required else Bump.MINOR
                yield f"{path}.{name}", f"{'required' if name in required else 'optional'} field added", bump

    def _keyword(self, path: str, key: str, old: Any, new: Any) -> Iterator[Difference]:
        if key in ("items", "additionalProperties", "propertyNames") and _both(dict, old, new):
            yield from self._nodes(f"{path}[]", old, new)
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems") and _both(list, old, new):
            yield from self._alternatives(path, key, old, new)
        elif key == "default":
            yield path, f"default changed: {_said(old)} -> {_said(new)}", Bump.MAJOR
        elif key == "enum" and _both(list, old, new):
            yield from self._values(path, old, new)
        else:
            yield path, f"{key} changed: {_said(old)} -> {_said(new)}", _bound_bump(key, old, new)

    def _values(self, path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Difference]:
        for value in old:
            if value not in new:
                yield path, f"value removed: {_said(value)}", Bump.MAJOR
        for value in new:
            if value not in old:
                yield path, f"value added: {_said(value)}", Bump.MINOR

    def _alternatives(self, path: str, key: str, old: Sequence[Schema], new: Sequence[Schema]) -> Iterator[Difference]:
        before, after = ({_label(option): option for option in options} for options in (old, new))
        for label, option in before.items():
            if label in after:
                yield from self._nodes(f"{path}<{label}>", option, after[label])
            else:
                yield path, f"alternative removed: {label}", Bump.MAJOR
        for label in after.keys() - before.keys():
            yield path, f"alternative added: {label}", Bump.MAJOR if key in ("allOf", "prefixItems") else Bump.MINOR


_ABSENT = object()


def _both(kind: type, old: Any, new: Any) -> bool:
    return isinstance(old, kind) and isinstance(new, kind)


def _said(value: Any) -> str:
    return "none" if value is _ABSENT else repr(value)


def _label(option: Schema) -> str:
    return str(option.get("$ref", "")).rpartition("/")[2] or str(option.get("type", option.get("const", option)))


def _bound_bump(key: str, old: Any, new: Any) -> Bump:
    if new is _ABSENT and key in _LOWER + _UPPER + ("pattern",):
        return Bump.MINOR
    numbers = isinstance(old, int | float) and isinstance(new, int | float)
    if numbers and ((key in _LOWER and new < old) or (key in _UPPER and new > old)):
        return Bump.MINOR
    return Bump.MAJOR


def _resolve(root: Schema, node: Schema) -> Schema:
    while "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **beside}
    return node
