"""Play today's game with a policy of an older one: by name, when features and actions were only renumbered or rescaled.

A rescaling is the policy's own matter: it divides by the scale that its rules state, so it is built again, with the
same weights, for its old rules with today's scales. A renumbering is translated outside: observations are put into the
old order, actions and logits into today's. Anything else is refused with a table by name. Weights never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from policy_interface import (
    ContinuousActions,
    DictLayout,
    DiscreteActions,
    GameRules,
    ImageLayout,
    MultiDiscreteActions,
    Policy,
    PolicyOutput,
    RulesMismatchError,
    TokenLayout,
)
from torch import Tensor

from app_loader.build import build_on_meta
from app_loader.delegating import DelegatingPolicy
from app_loader.errors import BuildError

if TYPE_CHECKING:
    from policy_interface.policy import Observation


def adapt_by_name(policy: Policy, rules: GameRules) -> Policy:
    """Return a policy that plays under other rules, by name.

    Args:
        policy: its `rules` are the old ones.
        rules: today's.

    Raises:
        RulesMismatchError: something was added, removed or changed: the table is in the error.
        BuildError: the policy cannot be built for other scales.
    """
    if isinstance(policy, RenumberedPolicy):
        policy = policy.unwrap()  # from what its weights were made for, never a translation of a translation
    comparison = policy.rules.compare(rules)
    if not comparison.adaptable:
        raise RulesMismatchError(comparison)
    if comparison.equivalent:
        return policy
    if any(change.kind == "rescaled" for change in comparison.changes):
        policy = _rescaled(policy, rules)
    if any(change.kind == "renumbered" for change in comparison.changes):
        return RenumberedPolicy(policy, rules)
    return policy


def _rescaled(policy: Policy, rules: GameRules) -> Policy:
    """Build the policy for its own rules with today's scales, and give it the very same tensors."""
    scales = {feature.name: feature.scale for feature in rules.features}
    features = tuple(f.model_copy(update={"scale": scales[f.name]}) for f in policy.rules.features)
    wanted = policy.rules.model_copy(update={"features": features})
    subject = f"{policy.architecture.kind} for other scales"
    if policy.module is None:
        raise BuildError(subject, stage="make_policy", cause="the policy's module is in another process")
    built = build_on_meta(policy.architecture, wanted, subject=subject)
    if built.module is None:
        raise BuildError(subject, stage="make_policy", cause="the policy's module is None")
    built.module.load_state_dict(policy.module.state_dict(keep_vars=True), strict=True, assign=True)
    for path, child in built.module.named_modules():
        child.training = policy.module.get_submodule(path).training
    return built


class RenumberedPolicy(DelegatingPolicy):
    """Translates between today's ids and those that a policy was made for; its module stays in the old order.

    Attributes:
        rules: today's.
    """

    def __init__(self, policy: Policy, rules: GameRules) -> None:
        super().__init__(policy)
        self.rules = rules
        self._columns = _columns(policy.rules, rules)
        self._ids = _token_ids(policy.rules, rules)
        self._actions = _ActionNames(policy.rules, rules)

    def to_old(self, observation: Observation) -> Observation:
        """Return an observation of today's rules as the policy reads it; any number of leading axes."""
        if isinstance(observation, Mapping):
            return observation  # by name already
        if self._ids is not None:
            ids = self._ids.to(observation.device)[observation[..., 1].long()]
            return torch.stack([observation[..., 0], ids.to(observation.dtype), observation[..., 2]], dim=-1)
        if self._columns is not None:
            return observation[..., self._columns.to(observation.device)]
        return observation

    def _translate_observation(self, observation: Observation) -> Observation:
        return self.to_old(observation)

    def _translate_action(self, action: Tensor) -> Tensor:
        return self._actions.to_old(action)

    def _translate_output(self, output: PolicyOutput) -> PolicyOutput:
        logits = None if output.logits is None else self._actions.logits_to_new(output.logits)
        return output._replace(action=self._actions.to_new(output.action), logits=logits)


def _columns(old: GameRules, new: GameRules) -> Tensor | None:
    """Return, for a vector in the old order, the column of today's vector that each number stands in."""
    if isinstance(old.layout, ImageLayout | TokenLayout | DictLayout):
        return None
    starts: dict[str, int] = {}
    at = 0
    for feature in new.features:
        starts[feature.name] = at
        at += feature.size
    return torch.tensor([starts[f.name] + i for f in old.features for i in range(f.size)])


def _token_ids(old: GameRules, new: GameRules) -> Tensor | None:
    """Return today's feature id to the old one; an id that no feature has goes to one that no old feature has."""
    if not isinstance(old.layout, TokenLayout):
        return None
    taken = {feature.id for feature in old.features}
    unknown = next((number for number in range(255, -1, -1) if number not in taken), 255)
    table = torch.full((256,), unknown, dtype=torch.long)
    was = {feature.name: feature.id for feature in old.features}
    for feature in new.features:
        table[feature.id] = was[feature.name]
    return table


class _ActionNames:
    """Translates action ids and the columns of logits by name."""

    def __init__(self, old: GameRules, new: GameRules) -> None:
        self._axes: Tensor | None = None
        self._choices: list[tuple[Tensor, Tensor]] = []
        before, after = old.actions, new.actions
        if isinstance(before, DiscreteActions) and isinstance(after, DiscreteActions):
            self._choices = [_both_ways(before.names, after.names)]
            self._logits = self._choices[0][0]
        elif isinstance(before, MultiDiscreteActions) and isinstance(after, MultiDiscreteActions):
            order = [before.names.index(name) for name in after.names]
            self._axes = torch.tensor(order)
            starts = [sum(len(axis.choices) for axis in before.axes[:i]) for i in range(len(before.axes))]
            columns = []
            for place, axis in zip(order, after.axes, strict=True):
                names = [choice.name for choice in before.axes[place].choices], [choice.name for choice in axis.choices]
                self._choices.append(_both_ways(*names))
                columns.append(self._choices[-1][0] + starts[place])
            self._logits = torch.cat(columns)
        elif isinstance(before, ContinuousActions) and isinstance(after, ContinuousActions):
            self._axes = torch.tensor([before.names.index(name) for name in after.names])

    def to_new(self, action: Tensor) -> Tensor:
        """Return old ids in today's."""
        if self._axes is not None:
            action = action[..., self._axes.to(action.device)]
        if not self._choices:
            return action
        if self._axes is None:
            return self._choices[0][1].to(action.device)[action]
        parts = [back.to(action.device)[action[..., i]] for i, (_, back) in enumerate(self._choices)]
        return torch.stack(parts, dim=-1)

    def to_old(self, action: Tensor) -> Tensor:
        """Return today's ids in the old ones."""
        if self._choices and self._axes is None:
            return self._choices[0][0].to(action.device)[action]
        if self._choices:
            parts = [there.to(action.device)[action[..., i]] for i, (there, _) in enumerate(self._choices)]
            action = torch.stack(parts, dim=-1)
        assert self._axes is not None
        return action[..., torch.argsort(self._axes).to(action.device)]

    def logits_to_new(self, logits: Tensor) -> Tensor:
        """Return the columns in today's order."""
        return logits[..., self._logits.to(logits.device)]


def _both_ways(old: tuple[str, ...] | list[str], new: tuple[str, ...] | list[str]) -> tuple[Tensor, Tensor]:
    """Return today's id to the old one, and the old one to today's."""
    there = [list(old).index(name) for name in new]
    back = [list(new).index(name) for name in old]
    return torch.tensor(there), torch.tensor(back)
