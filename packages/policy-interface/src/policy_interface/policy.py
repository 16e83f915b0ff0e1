"""Policy: what an application may ask of a policy, whatever code made it and wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from policy_interface.errors import RulesMismatchError
from policy_interface.state import State
from policy_interface.training import TrainingSpec, derive_training_spec

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from policy_interface.architecture import PolicyArchitecture
    from policy_interface.game_rules import GameRules

Observation: TypeAlias = "Tensor | Mapping[str, Tensor]"
"""One tensor, or one per feature; `GameRules.layout` says which."""


class Capability(StrEnum):
    """What a policy gives beside an action and the next state."""

    LOGITS = "logits"
    LOG_PROB = "log_prob"
    VALUE = "value"
    ENTROPY = "entropy"


class PolicyOutput(NamedTuple):
    """What `Policy.act` returns. Fields of capabilities that are not declared are None.

    Attributes:
        action: discrete int64 [batch]; multi-discrete int64 [batch, axis]; continuous float32 [batch, dimension].
        state: the next recurrent state, shaped as the one given.
        logits: float [batch, logit], unnormalised log-probabilities of the choices.
        log_prob: float [batch], natural logarithm of the probability (density) of `action`.
        value: float [batch], expected discounted return.
        entropy: float [batch], in nats.
    """

    action: Tensor
    state: State
    logits: Tensor | None = None
    log_prob: Tensor | None = None
    value: Tensor | None = None
    entropy: Tensor | None = None


class Policy(ABC):
    """A policy: observation and state in, action and next state out.

    Not an ``nn.Module``, so that a policy in another process can be one too; model code mixes it with ``nn.Module``.

    Attributes:
        architecture: the resolved architecture that the policy was built from.
        rules: the game rules that it was built for.
        capabilities: what `act` gives beside action and state; declared, never found by ``getattr``.
    """

    architecture: PolicyArchitecture
    rules: GameRules
    capabilities: frozenset[Capability]

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first observation: a pytree of tensors whose first axis is the batch."""

    @abstractmethod
    def act(
        self,
        observation: Observation,
        state: State,
        *,
        action: Tensor | None = None,
        deterministic: bool = True,
        generator: Generator | None = None,
    ) -> PolicyOutput:
        """Choose an action for every element of the batch.

        Args:
            observation: laid out as ``rules.layout`` says, first axis batch.
            state: from `initial_state` or from the output before.
            action: evaluate these actions instead of choosing (for training): they come back as ``output.action``.
            deterministic: the most probable action (continuous: the mean); else a sample.
            generator: the source of a sample's randomness; None is torch's default one.
        """

    def adapt(self, rules: GameRules) -> Policy:
        """Return a policy that computes the same under other rules.

        The default serves rules under which nothing changes for a policy; model code that can follow more overrides it.

        Raises:
            RulesMismatchError: the rules differ in a way that this policy cannot follow.
        """
        comparison = self.rules.compare(rules)
        if not comparison.equivalent:
            raise RulesMismatchError(comparison)
        return self

    @property
    def training_spec(self) -> TrainingSpec:
        """What a trainer must keep and may touch."""
        return derive_training_spec(self)

    @property
    def module(self) -> nn.Module | None:
        """The ``nn.Module`` with the weights, for fine-tuning and compiling; None when it is in another process."""
        return None
