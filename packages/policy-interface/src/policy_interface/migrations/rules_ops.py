"""Operations on the document of the game rules, by name, as data with inverses.

Ids follow the rules of `GameRules`: an action's id is its place among the choices, and features stand in id order.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol

from policy_interface.migrations.errors import InvalidMigrationError


class RulesOp(Protocol):
    """One operation on a rules document."""

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changed document.

        Raises:
            InvalidMigrationError: the rules do not fit.
        """

    def inverted(self) -> RulesOp:
        """Return the operation that undoes this one."""


def _choices(rules: dict[str, Any]) -> list[dict[str, Any]]:
    actions = rules["actions"]
    if actions.get("kind") != "discrete":
        raise InvalidMigrationError("rules", [f"actions are {actions.get('kind')!r}, expected one discrete choice"])
    choices: list[dict[str, Any]] = actions["choices"]
    return choices


def _named(items: list[dict[str, Any]], name: str, what: str) -> dict[str, Any]:
    found = next((item for item in items if item["name"] == name), None)
    if found is None:
        known = ", ".join(item["name"] for item in items)
        raise InvalidMigrationError("rules", [f"{what} {name!r} is not there; known are {known}"])
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAction:
    """A choice comes after the others, with the next id."""

    name: str

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rules with the choice."""
        changed = deepcopy(dict(rules))
        choices = _choices(changed)
        if any(choice["name"] == self.name for choice in choices):
            raise InvalidMigrationError("rules", [f"action {self.name!r} is there already"])
        choices.append({"name": self.name, "id": len(choices)})
        return changed

    def inverted(self) -> DropAction:
        """Return the drop of the last choice."""
        return DropAction(name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropAction:
    """The last choice goes; any other one would renumber those behind it."""

    name: str

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rules without the choice."""
        changed = deepcopy(dict(rules))
        choices = _choices(changed)
        if choices[-1]["name"] != self.name:
            problem = f"the last action is {choices[-1]['name']!r}, only {self.name!r} may be taken away here"
            raise InvalidMigrationError("rules", [problem])
        choices.pop()
        return changed

    def inverted(self) -> AddAction:
        """Return the addition."""
        return AddAction(name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameAction:
    """A choice takes another name and keeps its id."""

    old: str
    new: str

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rules with the new name."""
        changed = deepcopy(dict(rules))
        _named(_choices(changed), self.old, "action")["name"] = self.new
        return changed

    def inverted(self) -> RenameAction:
        """Return the rename the other way."""
        return RenameAction(old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameFeature:
    """A feature takes another name and keeps its id."""

    old: str
    new: str

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rules with the new name."""
        changed = deepcopy(dict(rules))
        _named(changed["features"], self.old, "feature")["name"] = self.new
        return changed

    def inverted(self) -> RenameFeature:
        """Return the rename the other way."""
        return RenameFeature(old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class RescaleFeature:
    """The number that a policy divides a feature by changes."""

    name: str
    old: float
    new: float

    def apply(self, rules: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rules with the new scale."""
        changed = deepcopy(dict(rules))
        feature = _named(changed["features"], self.name, "feature")
        if feature.get("scale", 1.0) != self.old:
            problem = f"feature {self.name!r} has scale {feature.get('scale', 1.0)}, this step begins at {self.old}"
            raise InvalidMigrationError("rules", [problem])
        feature["scale"] = self.new
        return changed

    def inverted(self) -> RescaleFeature:
        """Return the old scale."""
        return replace(self, old=self.new, new=self.old)
