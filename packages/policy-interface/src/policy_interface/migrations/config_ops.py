"""Operations on an architecture document ``{"kind", "schema_version", "config"}``, as data with inverses.

A field is named by its dotted path below ``config``. Nothing guesses: a field that is not there is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

from policy_interface.migrations.errors import InvalidMigrationError

_ABSENT = object()


class ConfigOp(Protocol):
    """One operation on an architecture document."""

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changed document.

        Raises:
            InvalidMigrationError: the document does not fit.
        """

    def inverted(self) -> ConfigOp:
        """Return the operation that undoes this one.

        Raises:
            InvalidMigrationError: there is none.
        """


def _parent(document: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *above, name = path.split(".")
    node = document["config"]
    for part in above:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise InvalidMigrationError("config", [f"{path}: there is nothing at {'.'.join(above)}"])
    return node, name


def _take(document: dict[str, Any], path: str) -> Any:
    node, name = _parent(document, path)
    if name not in node:
        raise InvalidMigrationError("config", [f"{path}: is not there; the fields are {', '.join(node)}"])
    return node.pop(name)


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    node, name = _parent(document, path)
    if name in node:
        raise InvalidMigrationError("config", [f"{path}: is there already, with {node[name]!r:.60}"])
    node[name] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameField:
    """A field takes another name, with its value."""

    old: str
    new: str

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with the field under its new name."""
        changed = deepcopy(dict(document))
        _put(changed, self.new, _take(changed, self.old))
        return changed

    def inverted(self) -> RenameField:
        """Return the rename the other way."""
        return RenameField(old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddField:
    """A field comes, with the value that keeps the behaviour of policies that were built without it."""

    path: str
    value: Any

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with the field."""
        changed = deepcopy(dict(document))
        _put(changed, self.path, deepcopy(self.value))
        return changed

    def inverted(self) -> DropField:
        """Return the drop, which refuses another value than the added one."""
        return DropField(path=self.path, only=self.value, reason="added by the revision that is undone")


@dataclass(frozen=True, slots=True, kw_only=True)
class DropField:
    """A field goes. With `only`, just where it has that value: any other one shapes the policy."""

    path: str
    reason: str
    only: Any = _ABSENT

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document without the field."""
        changed = deepcopy(dict(document))
        value = _take(changed, self.path)
        if self.only is not _ABSENT and value != self.only:
            problem = f"{self.path}: is {value!r:.60}; only policies with {self.only!r:.60} can follow"
            raise InvalidMigrationError("config", [problem])
        return changed

    def inverted(self) -> AddField:
        """Return the addition of the one value that may be dropped."""
        if self.only is _ABSENT:
            raise InvalidMigrationError("DropField", [f"{self.path} cannot come back: its value is not kept"])
        return AddField(path=self.path, value=self.only)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapField:
    """A field's values are said in other words, one for one; a value that is not listed stays.

    Attributes:
        path: the field.
        values: (old, new) pairs.
    """

    path: str
    values: tuple[tuple[Any, Any], ...]

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with the new value."""
        changed = deepcopy(dict(document))
        value = _take(changed, self.path)
        _put(changed, self.path, next((new for old, new in self.values if old == value), value))
        return changed

    def inverted(self) -> MapField:
        """Return the pairs turned around."""
        return replace(self, values=tuple((new, old) for old, new in self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNumber:
    """A number grows or shrinks, as a derived size does when what it counts does.

    Attributes:
        path: the field; one that holds None stays so.
        by: what is added.
    """

    path: str
    by: int

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with the new number."""
        changed = deepcopy(dict(document))
        value = _take(changed, self.path)
        _put(changed, self.path, None if value is None else value + self.by)
        return changed

    def inverted(self) -> ChangeNumber:
        """Return the change back."""
        return replace(self, by=-self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSchemaVersion:
    """The schema of the config takes another number."""

    old: int
    new: int

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with the new number."""
        if document.get("schema_version") != self.old:
            problem = f"schema_version is {document.get('schema_version')!r}, this step begins at {self.old}"
            raise InvalidMigrationError("config", [problem])
        return {**deepcopy(dict(document)), "schema_version": self.new}

    def inverted(self) -> SetSchemaVersion:
        """Return the step back."""
        return SetSchemaVersion(old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeKind:
    """The kind takes another name."""

    old: str
    new: str

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document under its new kind."""
        if document.get("kind") != self.old:
            problem = f"kind is {document.get('kind')!r}, this step renames {self.old!r}"
            raise InvalidMigrationError("config", [problem])
        return {**deepcopy(dict(document)), "kind": self.new}

    def inverted(self) -> ChangeKind:
        """Return the old name."""
        return ChangeKind(old=self.new, new=self.old)
