"""Derived sizes: written into a resolved config from the rules, refused when the config already says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from policy_interface import Config, GameRules, InvalidConfigError, Problem
from policy_interface.training import action_spec

ConfigT = TypeVar("ConfigT", bound=Config)


def action_size(rules: GameRules) -> int:
    """Return the width of an action head's output: the logits, or the dimensions of continuous actions."""
    actions = rules.actions
    return action_spec(rules).shape[0] if actions.kind == "continuous" else actions.logit_count


def fill_derived(config: ConfigT, derived: Mapping[str, Any]) -> ConfigT:
    """Return the config with these fields filled in. They do not count as set by the author.

    Raises:
        InvalidConfigError: a field already holds another value; with every such field.
    """
    problems = [
        Problem(path=name, message=f"the config says {was!r}, the game rules give {derived[name]!r}")
        for name, was in config
        if name in derived and was not in (None, derived[name])
    ]
    if problems:
        raise InvalidConfigError(type(config).__name__, problems)
    values = {**dict(config), **derived}
    return cast("ConfigT", type(config).model_construct(_fields_set=set(config.model_fields_set), **values))


def refuse_layout(subject: str, rules: GameRules, *expected: str) -> None:
    """Check that the rules' layout is one of the expected kinds.

    Raises:
        InvalidConfigError: it is another.
    """
    if rules.layout.kind not in expected:
        message = f"{subject} reads {' or '.join(expected)} observations, the game rules give {rules.layout.kind!r}"
        raise InvalidConfigError(subject, [Problem(path="rules.layout.kind", message=message)])
