"""A migrated policy seen with the eyes of its old rules, so that old and new behaviour can be compared by name.

Actions that a revision added are left out of the logits, ids are translated by name. Nothing else is touched: whatever
the new policy computes differently shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from policy_interface import DiscreteActions, GameRules, Policy, PolicyOutput, State
from policy_interface.migrations import RenameAction

from app_loader.revisions.route import Route

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch import Generator, Tensor, nn


class ProjectedPolicy(Policy):
    """Delegates to a migrated policy and answers in the actions of the old rules.

    An action that the old rules do not know comes back as -1: it is never equal to a recorded one.
    """

    def __init__(self, policy: Policy, old_rules: GameRules, columns: tuple[int, ...]) -> None:
        self._policy = policy
        self._columns = columns
        self.architecture = policy.architecture
        self.rules = old_rules
        self.capabilities = policy.capabilities

    @property
    def module(self) -> nn.Module | None:
        """The module of the migrated policy."""
        return self._policy.module

    def initial_state(self, batch_size: int) -> State:
        """Return the migrated policy's own."""
        return self._policy.initial_state(batch_size)

    def act(
        self,
        observation: Observation,
        state: State,
        *,
        action: Tensor | None = None,
        deterministic: bool = True,
        generator: Generator | None = None,
    ) -> PolicyOutput:
        """Act, and answer in the old rules' ids and logits."""
        columns = torch.tensor(self._columns)
        asked = None if action is None else columns[action.cpu()].to(action.device)
        output = self._policy.act(observation, state, action=asked, deterministic=deterministic, generator=generator)
        back = torch.full((int(columns.max()) + 2,), -1, dtype=torch.long)
        back[columns] = torch.arange(len(columns))
        known = output.action.clamp(max=len(back) - 1).cpu()
        logits = None if output.logits is None else output.logits[..., columns.to(output.logits.device)]
        return output._replace(action=back[known].to(output.action.device), logits=logits)


def project(policy: Policy, old_rules: GameRules, route: Route) -> Policy:
    """Return the policy as the old rules see it: itself, unless revisions changed one discrete choice."""
    new_rules = policy.rules
    if not isinstance(old_rules.actions, DiscreteActions) or not isinstance(new_rules.actions, DiscreteActions):
        return policy
    if old_rules.actions == new_rules.actions:
        return policy
    now = {name: i for i, name in enumerate(new_rules.actions.names)}
    renamed: dict[str, str] = {name: name for name in old_rules.actions.names}
    for revision in route.revisions:
        for op in revision.inverted_rules() if route.backwards else revision.rules:
            if isinstance(op, RenameAction):
                renamed = {old: op.new if name == op.old else name for old, name in renamed.items()}
    if any(name not in now for name in renamed.values()):
        return policy  # an action went: there is nothing to compare it with, and the difference shall show
    return ProjectedPolicy(policy, old_rules, tuple(now[renamed[name]] for name in old_rules.actions.names))
