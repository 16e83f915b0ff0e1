"""Rollouts: episodes begin where they should, and time limits are not mistaken for endings."""

from __future__ import annotations

import pytest
import torch
from app_loader.environments.gymnasium import rules_from_env
from app_loader.training.pytrees import stack_trees, where_tree
from app_loader.training.rollout import RolloutCollector, compute_advantages
from app_loader.training.settings import PpoSettings
from hypothesis import given
from hypothesis import strategies as st
from policy_interface import flatten_state

from tests.app_loader.training.small_envs import ClockEnv
from tests.policy_interface.sample_policies import SampleArchitecture


@given(
    rewards=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8),
    ends=st.lists(st.booleans(), min_size=8, max_size=8),
    values=st.lists(st.floats(-5, 5, width=32), min_size=9, max_size=9),
    discount=st.floats(0, 1),
)
def test_with_lambda_one_an_advantage_is_the_discounted_return_minus_the_value(
    rewards: list[float], ends: list[bool], values: list[float], discount: float
) -> None:
    steps = len(rewards)
    settings = PpoSettings(discount=discount, gae_lambda=1.0)
    given_ = compute_advantages(
        torch.tensor(rewards)[:, None],
        torch.tensor(values[:steps])[:, None],
        torch.tensor(ends[:steps])[:, None],
        torch.tensor(values[steps : steps + 1]),
        settings,
    )
    future = values[steps]
    for step in reversed(range(steps)):
        future = rewards[step] + discount * (0.0 if ends[step] else future)
        assert float(given_[step]) == pytest.approx(future - values[step], abs=1e-3)


def test_episodes_start_anew_with_a_fresh_state_and_time_limits_keep_their_future() -> None:
    def clock() -> ClockEnv:
        return ClockEnv(length=3)

    rules = rules_from_env(clock())
    policy = SampleArchitecture(hidden=2).make_policy(rules)
    with torch.no_grad():
        policy.value_head.weight.zero_()
        policy.value_head.bias.fill_(10.0)
    settings = PpoSettings(environments=2, rollout_steps=7, discount=0.5, gae_lambda=0.0)
    collector = RolloutCollector(policy, clock, settings, 0, torch.Generator().manual_seed(0))
    rollout = collector.collect()
    collector.close()
    assert isinstance(rollout.observation, torch.Tensor)
    assert rollout.observation[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert rollout.starts[:, 0].tolist() == [True, False, False, True, False, False, True]
    zero = [not step.any() for step in rollout.states["memory"][:, 0]]
    assert zero == rollout.starts[:, 0].tolist()
    # Each step pays 1 and expects 10 after it, at the time limit too: 1 + 0.5 * 10 - 10.
    assert rollout.advantage[:, 0].tolist() == [-4.0] * 7
    assert collector.episode_returns == [3.0] * 4


def test_trees_are_stacked_over_time_and_chosen_by_element() -> None:
    first = {"a": torch.zeros(2, 3), "b": (torch.ones(2),)}
    second = {"a": torch.ones(2, 3), "b": (torch.zeros(2),)}
    assert {k: tuple(v.shape) for k, v in flatten_state(stack_trees([first, second])).items()} == {
        "a": (2, 2, 3),
        "b.0": (2, 2),
    }
    mixed = where_tree(torch.tensor([True, False]), first, second)
    assert mixed["a"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert mixed["b"][0].tolist() == [1, 0]
