"""tiny: one hidden layer over a vector."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from policy_interface import (
    Capability,
    GameRules,
    InvalidConfigError,
    Policy,
    PolicyArchitecture,
    PolicyOutput,
    Problem,
)
from torch import nn


class TinyArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "tiny"
    schema_version: ClassVar[int] = 1
    hidden: int = 8
    scale: float = 1.0

    def make_policy(self, rules: GameRules) -> TinyPolicy:
        if rules.layout.kind != "vector" or rules.actions.kind != "discrete":
            raise InvalidConfigError("tiny", [Problem(path="rules", message="expected a vector and discrete actions")])
        return TinyPolicy(self, rules)


class TinyPolicy(nn.Module, Policy):
    architecture: TinyArchitecture

    def __init__(self, architecture: TinyArchitecture, rules: GameRules) -> None:
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({Capability.LOGITS, Capability.VALUE})
        self.body = nn.Linear(rules.observation_size, architecture.hidden)
        self.head = nn.Linear(architecture.hidden, len(rules.actions.names))
        self.critic = nn.Linear(architecture.hidden, 1)

    def initial_state(self, batch_size: int) -> Any:
        return {}

    def act(self, observation: Any, state: Any, *, action: Any = None, **options: Any) -> PolicyOutput:
        hidden = torch.tanh(self.body(observation) * self.architecture.scale)
        logits = self.head(hidden)
        action = logits.argmax(dim=1) if action is None else action
        return PolicyOutput(action=action, state=state, logits=logits, value=self.critic(hidden)[:, 0])

    @property
    def module(self) -> nn.Module:
        return self
