"""Explain a dimension by a value: of the config, or of the rules, that changed in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policy_interface import GameRules

_FACTORS = (1, 2, 3, 4, 8)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Named numbers of both sides.

    Attributes:
        old: name to number, of the archive.
        new: name to number, of the code.
    """

    old: Mapping[str, int]
    new: Mapping[str, int]

    @classmethod
    def of(
        cls,
        old_config: Mapping[str, Any],
        new_config: Mapping[str, Any],
        old_rules: GameRules | None,
        new_rules: GameRules | None,
    ) -> Sizes:
        """Collect every whole number of configs and rules."""
        return cls(
            dict([*_numbers(old_config, "config."), *_of_rules(old_rules)]),
            dict([*_numbers(new_config, "config."), *_of_rules(new_rules)]),
        )

    def explain(self, was: int, now: int) -> list[str]:
        """Return what changed from the one size to the other, or by the same factor, in words."""
        found = []
        for factor in _FACTORS:
            if was % factor or now % factor:
                continue
            for name, value in self.old.items():
                if value == was // factor and self.new.get(name) == now // factor and value != self.new[name]:
                    times = f"{factor} x " if factor > 1 else ""
                    found.append(f"{times}{name} {value} -> {self.new[name]}")
            if found:
                break
        return found


def _numbers(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _numbers(value, f"{prefix}{name}.")
    elif isinstance(node, list | tuple):
        yield f"length of {prefix.rstrip('.')}", len(node)
        for i, value in enumerate(node):
            yield from _numbers(value, f"{prefix.rstrip('.')}[{i}].")
    elif isinstance(node, int) and not isinstance(node, bool):
        yield prefix.rstrip("."), node


def _of_rules(rules: GameRules | None) -> Iterator[tuple[str, int]]:
    if rules is None:
        return
    yield "the number of features", len(rules.features)
    yield "the size of an observation", rules.observation_size
    actions = rules.actions
    if actions.kind == "continuous":
        yield "the number of action dimensions", len(actions.dimensions)
    else:
        yield "the action count", actions.logit_count
