"""Evaluate a policy: seeded episodes played deterministically, with what it did for comparison action by action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import gymnasium
import numpy as np
import torch
from policy_interface import Policy

from app_loader.environments.gymnasium import GymnasiumAdapter, batch_observations
from app_loader.witness.record import evaluation_mode

EnvFactory = Callable[[], gymnasium.Env[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a policy did.

    Attributes:
        returns: the undiscounted sum of rewards of each episode, in seed order.
        actions: the actions of each episode, one array [step, ...] per episode.
    """

    returns: tuple[float, ...]
    actions: tuple[Any, ...]

    @property
    def mean_return(self) -> float:
        """The mean over the episodes."""
        return fmean(self.returns)

    def same_actions(self, other: Evaluation) -> bool:
        """Tell whether both played the same, action for action."""
        pairs = zip(self.actions, other.actions, strict=False)
        return len(self.actions) == len(other.actions) and all(np.array_equal(a, b) for a, b in pairs)


def env_factory(env: str | EnvFactory) -> EnvFactory:
    """Return a function that makes the environment, for a gymnasium id or such a function itself."""
    if callable(env):
        return env
    name = env
    return lambda: gymnasium.make(name)


@torch.no_grad()
def evaluate(policy: Policy, env: str | EnvFactory, *, episodes: int = 20, seed: int = 0) -> Evaluation:
    """Play episodes side by side, episode i reset with ``seed + i``, and always in one batch of all episodes.

    The batch's size can change the last bit of a result, so that comparable evaluations have equally many episodes.

    Args:
        policy: any policy; it is put into evaluation mode for the while if it is in this process.
        env: a gymnasium id, or a function that makes the environment.
        episodes: how many.
        seed: of the first episode.

    Raises:
        UnsupportedSpaceError: the environment cannot be described by game rules.
        UnfitEnvironmentError: its observations or actions are not those of the policy.
    """
    make_env = env_factory(env)
    envs = [make_env() for _ in range(episodes)]
    try:
        with evaluation_mode(policy):
            return _play(policy, envs, seed)
    finally:
        for each in envs:
            each.close()


def _play(policy: Policy, envs: list[gymnasium.Env[Any, Any]], seed: int) -> Evaluation:
    adapter = GymnasiumAdapter.of(envs[0])
    adapter.check_policy_fits(policy)
    observed = [env.reset(seed=seed + i)[0] for i, env in enumerate(envs)]
    state = policy.initial_state(len(envs))
    playing = list(range(len(envs)))
    returns = [0.0] * len(envs)
    actions: list[list[Any]] = [[] for _ in envs]
    while playing:
        output = policy.act(adapter.to_observation(batch_observations(observed)), state)
        chosen = adapter.to_action(output.action)
        for i in tuple(playing):  # a finished episode keeps its place in the batch with its last observation
            observed[i], reward, terminated, truncated, _ = envs[i].step(chosen[i])
            returns[i] += float(reward)
            actions[i].append(chosen[i])
            if terminated or truncated:
                playing.remove(i)
        state = output.state
    return Evaluation(returns=tuple(returns), actions=tuple(np.array(episode) for episode in actions))
