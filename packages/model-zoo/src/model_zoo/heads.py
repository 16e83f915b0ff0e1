"""Heads: from features to an action distribution, and to a value."""

from __future__ import annotations

import torch
from policy_interface import GameRules, MultiDiscreteActions
from torch import Tensor, nn

from model_zoo._derive import action_size
from model_zoo.distributions import ActionDistribution, Categorical, DiagonalNormal, MultiCategorical


def scaled_orthogonal(linear: nn.Linear, gain: float) -> nn.Linear:
    """Initialise a layer in place: orthogonal weight times gain, zero bias; return it.

    Source: Andrychowicz et al., "What Matters In On-Policy Reinforcement Learning?", 2020, section 3.2.
    """
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class ChoiceHead(nn.Linear):
    """Discrete and multi-discrete actions: one linear layer gives all logits."""

    def __init__(self, width: int, rules: GameRules) -> None:
        super().__init__(width, action_size(rules))
        scaled_orthogonal(self, 0.01)
        actions = rules.actions
        self._sizes = (
            tuple(len(axis.choices) for axis in actions.axes) if isinstance(actions, MultiDiscreteActions) else None
        )

    def forward(self, features: Tensor) -> ActionDistribution:  # type: ignore[override]  # a layer and its meaning
        """Return the distribution for features float32 [batch, width]."""
        logits = super().forward(features)
        return Categorical(logits) if self._sizes is None else MultiCategorical(logits, self._sizes)


class NormalHead(nn.Linear):
    """Continuous actions: a linear layer gives the mean; the deviation is learned and the same in every state."""

    def __init__(self, width: int, rules: GameRules) -> None:
        super().__init__(width, action_size(rules))
        scaled_orthogonal(self, 0.01)
        self.log_std = nn.Parameter(torch.zeros(action_size(rules)))

    def forward(self, features: Tensor) -> ActionDistribution:  # type: ignore[override]  # a layer and its meaning
        """Return the distribution for features float32 [batch, width]."""
        from model_zoo.limits import LOG_STD_HIGH, LOG_STD_LOW  # read at each call: a study may narrow them

        mean = super().forward(features)
        return DiagonalNormal(mean, self.log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH).expand_as(mean))


def make_action_head(width: int, rules: GameRules) -> ChoiceHead | NormalHead:
    """Return the head for the kind of actions that the rules have."""
    return NormalHead(width, rules) if rules.actions.kind == "continuous" else ChoiceHead(width, rules)


def make_value_head(width: int) -> nn.Linear:
    """Return a linear layer with one output: the expected discounted return."""
    return scaled_orthogonal(nn.Linear(width, 1), 1.0)
