"""ZooPolicy: what every policy of the zoo shares. A subclass encodes; the heads and `act` stand here."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from policy_interface import Capability, GameRules, Policy, PolicyArchitecture, PolicyOutput, State
from policy_interface.policy import Observation
from torch import Generator, Tensor, nn

from model_zoo.heads import make_action_head, make_value_head


class Encoding(NamedTuple):
    """What the heads read: float32 [batch, width] for either head, and the next recurrent state."""

    actor: Tensor
    critic: Tensor
    state: State


class ZooPolicy(nn.Module, Policy):
    """An actor-critic. A subclass builds its encoder, calls `_add_heads` last, and defines `encode`.

    Attributes:
        action_head: from the actor's features to a distribution over actions.
        value_head: from the critic's features to the value.
    """

    def __init__(self, architecture: PolicyArchitecture, rules: GameRules) -> None:
        super().__init__()
        self.architecture = architecture
        self.rules = rules
        given = {Capability.LOG_PROB, Capability.VALUE, Capability.ENTROPY}
        self.capabilities = frozenset(given if rules.actions.kind == "continuous" else given | {Capability.LOGITS})

    def _add_heads(self, width: int) -> None:
        self.action_head = make_action_head(width, self.rules)
        self.value_head = make_value_head(width)

    @abstractmethod
    def encode(self, observation: Observation, state: State) -> Encoding:
        """Return the features that the heads read and the next state."""

    @property
    def module(self) -> nn.Module:
        """The policy itself."""
        return self

    def initial_state(self, batch_size: int) -> State:
        """Return the empty mapping: no memory."""
        return {}

    def act(
        self,
        observation: Observation,
        state: State,
        *,
        action: Tensor | None = None,
        deterministic: bool = True,
        generator: Generator | None = None,
    ) -> PolicyOutput:
        """Choose or evaluate actions; see `policy_interface.Policy.act`."""
        encoding = self.encode(observation, state)
        distribution = self.action_head(encoding.actor)
        if action is None:
            action = distribution.mode() if deterministic else distribution.sample(generator)
        return PolicyOutput(
            action=action,
            state=encoding.state,
            logits=distribution.logits,
            log_prob=distribution.log_prob(action),
            value=self.value_head(encoding.critic).squeeze(-1),
            entropy=distribution.entropy(),
        )

    def forward(self, observation: Observation, state: State) -> PolicyOutput:
        """Return the deterministic output of `act`: the call that is compiled or exported."""
        return self.act(observation, state)
