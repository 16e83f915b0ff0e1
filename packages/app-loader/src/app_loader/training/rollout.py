"""One rollout: a policy sampled in environments that run side by side, and the advantages of what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from policy_interface import Policy, PolicyOutput, State
from policy_interface.policy import Observation
from torch import Generator, Tensor

from app_loader.environments.gymnasium import GymnasiumAdapter, batch_observations
from app_loader.training.pytrees import index_tree, stack_trees, where_tree
from app_loader.training.settings import PpoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What happened. Every tensor has the axes [step, environment, ...].

    Attributes:
        observation: what was seen.
        starts: bool: the observation is an episode's first.
        states: the state before each step.
        action: what was done.
        log_prob: its logarithmic probability then.
        advantage: how much better than expected it was.
        target: the value that should have been expected.
    """

    observation: Observation
    starts: Tensor
    states: State
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor


@dataclass(slots=True)
class RolloutCollector:
    """Steps environments on and on; each `collect` continues where the one before stopped.

    Attributes:
        episode_returns: of the episodes finished so far, in order.

    Raises:
        UnfitEnvironmentError: its observations or actions are not those of the policy.
    """

    policy: Policy
    make_env: Callable[[], gymnasium.Env[Any, Any]]
    settings: PpoSettings
    seed: int
    generator: Generator
    episode_returns: list[float] = field(default_factory=list)
    _envs: SyncVectorEnv = field(init=False)
    _adapter: GymnasiumAdapter = field(init=False)
    _observation: Observation = field(init=False)
    _state: State = field(init=False)
    _starts: Tensor = field(init=False)
    _returns: Any = field(init=False)

    def __post_init__(self) -> None:
        count = self.settings.environments
        self._envs = SyncVectorEnv([self.make_env] * count, autoreset_mode=AutoresetMode.SAME_STEP)
        self._adapter = GymnasiumAdapter.of(self._envs.envs[0])
        self._adapter.check_policy_fits(self.policy)
        first, _ = self._envs.reset(seed=[self.seed + i for i in range(count)])
        self._observation = self._adapter.to_observation(first)
        self._state = self.policy.initial_state(count)
        self._starts = torch.ones(count, dtype=torch.bool)
        self._returns = np.zeros(count)

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Return the next rollout."""
        kept: list[tuple[Observation, Tensor, State, PolicyOutput, Tensor, Tensor]] = []
        for _ in range(self.settings.rollout_steps):
            before, starts, state = self._observation, self._starts, self._state
            output = self.policy.act(before, state, deterministic=False, generator=self.generator)
            rewards, ends = self._step(output)
            kept.append((before, starts, state, output, rewards, ends))
        last = self.policy.act(self._observation, self._state).value
        assert last is not None
        observations, starts_, states, outputs, rewards_, ends_ = (list(column) for column in zip(*kept, strict=True))
        values = torch.stack([output.value for output in outputs])
        advantage = compute_advantages(torch.stack(rewards_), values, torch.stack(ends_), last, self.settings)
        return Rollout(
            observation=stack_trees(observations),
            starts=torch.stack(starts_),
            states=stack_trees(states) if states[0] else {},
            action=torch.stack([output.action for output in outputs]),
            log_prob=torch.stack([output.log_prob for output in outputs]),
            advantage=advantage,
            target=advantage + values,
        )

    def _step(self, output: PolicyOutput) -> tuple[Tensor, Tensor]:
        """Step all environments; return rewards and ends, float32 [environment] and bool [environment]."""
        observed, rewards, terminated, truncated, info = self._envs.step(self._adapter.to_action(output.action))
        self._returns += rewards
        ends = terminated | truncated
        for i in np.flatnonzero(ends):
            self.episode_returns.append(float(self._returns[i]))
            self._returns[i] = 0.0
        gained = torch.as_tensor(rewards, dtype=torch.float32)
        for i in np.flatnonzero(truncated & ~terminated):
            # Cut off by the clock, the episode would have gone on: its future is what the policy expects of it.
            final = self._adapter.to_observation(batch_observations([info["final_obs"][i]]))
            value = self.policy.act(final, index_tree(output.state, slice(int(i), int(i) + 1))).value
            assert value is not None
            gained[i] += self.settings.discount * float(value)
        self._starts = torch.as_tensor(ends)
        self._observation = self._adapter.to_observation(observed)
        self._state = where_tree(self._starts, self.policy.initial_state(len(ends)), output.state)
        return gained, self._starts


def compute_advantages(rewards: Tensor, values: Tensor, ends: Tensor, last: Tensor, settings: PpoSettings) -> Tensor:
    """Return generalised advantage estimates.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2015.

    Args:
        rewards: float32 [step, environment].
        values: float32 [step, environment], of the observation before each step.
        ends: bool [step, environment]: the episode ended with this step.
        last: float32 [environment], the value of the observation after the last step.
        settings: discount and lambda.

    Returns:
        float32 [step, environment].
    """
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(last)
    following = last
    for step in reversed(range(len(rewards))):
        goes_on = (~ends[step]).float()
        surprise = rewards[step] + settings.discount * following * goes_on - values[step]
        running = surprise + settings.discount * settings.gae_lambda * goes_on * running
        advantages[step] = running
        following = values[step]
    return advantages
