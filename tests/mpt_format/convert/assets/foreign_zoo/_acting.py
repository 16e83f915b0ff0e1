"""Acting from logits: what both policies of this zoo share."""

from __future__ import annotations

import torch
from policy_interface import Capability, Policy, PolicyOutput
from torch import nn


class LogitsPolicy(nn.Module, Policy):
    """A policy that gives logits, and a value where it has one."""

    capabilities = frozenset({Capability.LOGITS})

    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules

    @property
    def module(self):
        return self

    def answer(self, logits, state, action, deterministic, generator, value=None):
        if action is None and deterministic:
            action = logits.argmax(dim=1)
        elif action is None:
            action = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
        return PolicyOutput(action=action, state=state, logits=logits, value=value)
