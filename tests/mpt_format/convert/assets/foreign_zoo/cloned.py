"""A perceptron that was cloned from another policy: observations are normalised by what the training data gave."""

from __future__ import annotations

from typing import ClassVar

import torch
from policy_interface import PolicyArchitecture
from torch import nn

from foreign_zoo._acting import LogitsPolicy


class ClonedArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "foreign_cloned"

    hidden: int = 32
    inputs: int | None = None
    outputs: int | None = None

    def resolve(self, rules):
        return self.model_copy(update={"inputs": rules.observation_size, "outputs": rules.actions.logit_count})

    def make_policy(self, rules):
        return Cloned(self.resolve(rules), rules)


class Cloned(LogitsPolicy):
    def __init__(self, architecture, rules):
        super().__init__(architecture, rules)
        hidden = architecture.hidden
        self.register_buffer("mean", torch.zeros(architecture.inputs))
        self.register_buffer("deviation", torch.ones(architecture.inputs))
        self.first = nn.Linear(architecture.inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.logits = nn.Linear(hidden, architecture.outputs)

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        hidden = torch.tanh(self.first((observation - self.mean) / self.deviation))
        logits = self.logits(torch.tanh(self.second(hidden)))
        return self.answer(logits, state, action, deterministic, generator)
