"""Evaluation is seeded, deterministic, and says what was done."""

from __future__ import annotations

import pytest
import torch
from app_loader.environments.errors import UnfitEnvironmentError
from app_loader.environments.gymnasium import rules_from_env
from app_loader.training import evaluate

from tests.app_loader.training.small_envs import ClockEnv, CopyEnv
from tests.policy_interface.sample_policies import SampleArchitecture, SamplePolicy


def _policy() -> SamplePolicy:
    torch.manual_seed(1)
    return SampleArchitecture().make_policy(rules_from_env(CopyEnv()))


def test_same_seed_plays_the_same_action_for_action() -> None:
    policy = _policy()
    first, second = evaluate(policy, CopyEnv, episodes=5, seed=0), evaluate(policy, CopyEnv, episodes=5, seed=0)
    assert first.returns == second.returns
    assert first.same_actions(second)
    assert [len(actions) for actions in first.actions] == [4] * 5


def test_episode_i_is_seeded_with_seed_plus_i() -> None:
    policy = _policy()
    assert (
        evaluate(policy, CopyEnv, episodes=6, seed=2).returns[:3]
        == evaluate(policy, CopyEnv, episodes=6, seed=0).returns[2:5]
    )


def test_other_actions_and_other_numbers_of_episodes_are_not_the_same() -> None:
    policy = _policy()
    first = evaluate(policy, CopyEnv, episodes=3, seed=0)
    assert not first.same_actions(evaluate(policy, CopyEnv, episodes=2, seed=0))
    with torch.no_grad():
        policy.head.bias.add_(torch.tensor([9.0, 0.0]) * (1 if first.actions[0].any() else -1))
    assert not first.same_actions(evaluate(policy, CopyEnv, episodes=3, seed=0))


def test_episodes_of_different_lengths_end_by_themselves() -> None:
    lengths = iter([2, 5, 3])
    policy = SampleArchitecture().make_policy(rules_from_env(ClockEnv(1)))
    evaluation = evaluate(policy, lambda: ClockEnv(next(lengths)), episodes=3, seed=0)
    assert evaluation.returns == (2.0, 5.0, 3.0)
    assert [len(actions) for actions in evaluation.actions] == [2, 5, 3]


def test_an_environment_of_another_game_is_refused_with_every_difference() -> None:
    policy = SampleArchitecture().make_policy(rules_from_env(CopyEnv()))
    with pytest.raises(UnfitEnvironmentError) as caught:
        evaluate(policy, "Acrobot-v1", episodes=1)
    assert caught.value.environment == "Acrobot-v1"
    assert len(caught.value.problems) == 2


def test_training_mode_is_given_back() -> None:
    policy = _policy()
    policy.train()
    evaluate(policy, CopyEnv, episodes=1)
    assert policy.training


def test_a_part_that_was_kept_in_evaluation_mode_stays_there() -> None:
    policy = _policy().train()
    policy.head.eval()
    evaluate(policy, CopyEnv, episodes=1, seed=0)
    assert policy.training
    assert not policy.head.training
