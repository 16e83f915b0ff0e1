"""Two game rules compared by name: what was added, removed, renumbered, rescaled or otherwise changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from policy_interface.actions import ContinuousActions, DiscreteActions, MultiDiscreteActions
from policy_interface.config import Config

if TYPE_CHECKING:
    from policy_interface.game_rules import GameRules

ChangeKind = Literal["added", "removed", "renumbered", "rescaled", "changed"]
Subject = Literal["feature", "action", "layout", "agents", "tags"]

ADAPTABLE: tuple[ChangeKind, ...] = ("renumbered", "rescaled")
"""The changes that a policy can follow without a change of its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesChange:
    """One difference.

    Attributes:
        subject: what kind of thing differs.
        name: its name; for a multi-discrete choice ``axis/choice``.
        kind: what happened to it.
        old: the old value (an id, a scale, a shape, ...), None when added.
        new: the new value, None when removed.
    """

    subject: Subject
    name: str
    kind: ChangeKind
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        values = "" if self.old is None and self.new is None else f"  {self.old} -> {self.new}"
        return f"{self.subject} {self.name}: {self.kind}{values}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesComparison:
    """Every difference between old and current rules. Tags and the number of agents are told but never in the way."""

    changes: tuple[RulesChange, ...]

    @property
    def identical(self) -> bool:
        """Whether nothing at all differs."""
        return not self.changes

    @property
    def adaptable(self) -> bool:
        """Whether everything that shapes an observation or an action is a pure renumbering or rescaling."""
        return all(change.kind in ADAPTABLE or change.subject in ("agents", "tags") for change in self.changes)

    @property
    def equivalent(self) -> bool:
        """Whether a policy behaves the same under both: only tags or the number of agents differ."""
        return all(change.subject in ("agents", "tags") for change in self.changes)

    def to_text(self) -> str:
        """Return one line per difference."""
        return "\n".join(f"  {change}" for change in self.changes) or "  nothing differs"


def compare_rules(old: GameRules, new: GameRules) -> RulesComparison:
    """Return what differs between two rules, by name, features first."""
    return RulesComparison(changes=tuple(_changes(old, new)))


def _changes(old: GameRules, new: GameRules) -> Iterator[RulesChange]:
    yield from _named("feature", _features(old), _features(new))
    if old.layout != new.layout:
        yield RulesChange(
            subject="layout", name=old.layout.kind, kind="changed", old=_plain(old.layout), new=_plain(new.layout)
        )
    if old.actions.kind != new.actions.kind:
        yield RulesChange(subject="action", name="kind", kind="changed", old=old.actions.kind, new=new.actions.kind)
    else:
        yield from _named("action", _actions(old), _actions(new))
    if old.agents != new.agents:
        yield RulesChange(subject="agents", name="agents", kind="changed", old=old.agents, new=new.agents)
    if old.tags != new.tags:
        yield RulesChange(subject="tags", name="tags", kind="changed", old=list(old.tags), new=list(new.tags))


def _named(
    subject: Subject, old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]
) -> Iterator[RulesChange]:
    for name, was in old.items():
        now = new.get(name)
        if now is None:
            yield RulesChange(subject=subject, name=name, kind="removed", old=was["id"])
            continue
        for key, value in was.items():
            if value == now[key]:
                continue
            kind: ChangeKind = {"id": "renumbered", "scale": "rescaled"}.get(key, "changed")  # type: ignore[assignment]
            yield RulesChange(subject=subject, name=name, kind=kind, old=_said(key, value), new=_said(key, now[key]))
    for name, now in new.items():
        if name not in old:
            yield RulesChange(subject=subject, name=name, kind="added", new=now["id"])


def _said(key: str, value: Any) -> Any:
    return value if key in ("id", "scale") else f"{key} {value}"


def _plain(config: Config) -> dict[str, Any]:
    return config.to_document()


def _features(rules: GameRules) -> dict[str, dict[str, Any]]:
    return {feature.name: _without_name(feature) for feature in rules.features}


def _actions(rules: GameRules) -> dict[str, dict[str, Any]]:
    actions = rules.actions
    if isinstance(actions, DiscreteActions):
        return {choice.name: {"id": choice.id} for choice in actions.choices}
    if isinstance(actions, ContinuousActions):
        return {dimension.name: _without_name(dimension) for dimension in actions.dimensions}
    assert isinstance(actions, MultiDiscreteActions)
    named: dict[str, dict[str, Any]] = {}
    for axis in actions.axes:
        named[axis.name] = {"id": axis.id}
        named.update({f"{axis.name}/{choice.name}": {"id": choice.id} for choice in axis.choices})
    return named


def _without_name(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.to_document().items() if key != "name"}
