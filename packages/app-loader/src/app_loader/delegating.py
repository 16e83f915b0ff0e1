"""A policy that another one computes: everything is passed on, and a subclass says what it sees or answers differently.

The signature of `Policy.act` stands here once for all that stand between an application and model code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_interface import Policy, PolicyOutput, State, TrainingSpec

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch import Generator, Tensor, nn


class DelegatingPolicy(Policy):
    """Delegates to a policy.

    A subclass that stands for other rules sets `rules` and overrides the three translations.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.architecture = policy.architecture
        self.rules = policy.rules
        self.capabilities = policy.capabilities

    @property
    def module(self) -> nn.Module | None:
        """The ``nn.Module`` with the weights of the policy that computes."""
        return self._policy.module

    @property
    def training_spec(self) -> TrainingSpec:
        """What a trainer must keep and may touch."""
        return self._policy.training_spec

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first observation."""
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
        """Choose an action for every element of the batch, as `Policy.act`."""
        asked = None if action is None else self._translate_action(action)
        seen = self._translate_observation(observation)
        output = self._policy.act(seen, state, action=asked, deterministic=deterministic, generator=generator)
        return self._translate_output(output)

    def unwrap(self) -> Policy:
        """Return the policy that computes."""
        return self._policy

    def _translate_observation(self, observation: Observation) -> Observation:
        """Return an observation as the policy that computes reads it."""
        return observation

    def _translate_action(self, action: Tensor) -> Tensor:
        """Return given actions in the ids of the policy that computes."""
        return action

    def _translate_output(self, output: PolicyOutput) -> PolicyOutput:
        """Return the answer in the ids of `rules`."""
        return output
