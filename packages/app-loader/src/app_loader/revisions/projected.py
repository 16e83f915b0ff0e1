"""A migrated policy seen with the eyes of its old rules, so that old and new behaviour can be compared by name.

Actions that a revision added are left out of the logits, ids are translated by name. Nothing else is touched: whatever
the new policy computes differently shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from policy_interface import DiscreteActions, GameRules, Policy, PolicyOutput
from policy_interface.migrations import RenameAction

from app_loader.delegating import DelegatingPolicy
from app_loader.revisions.route import Route

if TYPE_CHECKING:
    from torch import Tensor


class ProjectedPolicy(DelegatingPolicy):
    """Delegates to a migrated policy and answers in the actions of the old rules.

    An action that the old rules do not know comes back as -1: it is never equal to a recorded one.
    """

    def __init__(self, policy: Policy, old_rules: GameRules, columns: tuple[int, ...]) -> None:
        super().__init__(policy)
        self.rules = old_rules
        self._columns = columns

    def _translate_action(self, action: Tensor) -> Tensor:
        return torch.tensor(self._columns)[action.cpu()].to(action.device)

    def _translate_output(self, output: PolicyOutput) -> PolicyOutput:
        columns = torch.tensor(self._columns)
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
