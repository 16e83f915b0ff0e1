"""Training by the contract alone: it learns, it is seeded, and it touches only what it may."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import pytest
import torch
from app_loader.environments.errors import UnfitEnvironmentError
from app_loader.environments.gymnasium import rules_from_env
from app_loader.training import PpoSettings, TrainingProgress, UntrainablePolicyError, train_ppo
from policy_interface import Policy, TrainingSpec

from tests.app_loader.training.small_envs import CopyEnv, RecallEnv
from tests.policy_interface.sample_policies import SampleArchitecture, SamplePolicy, Undeclared

SETTINGS = PpoSettings(rollout_steps=16, learning_rate=2e-2, minibatches=2, discount=0.9)


def _policy(env: gymnasium.Env[Any, Any], cls: type[SamplePolicy] = SamplePolicy) -> SamplePolicy:
    rules = rules_from_env(env)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(SampleArchitecture(hidden=8).resolve(rules), rules)


@pytest.mark.parametrize(("env", "best"), [(CopyEnv, 4.0), (RecallEnv, 1.0)])
def test_it_learns_to_act_on_what_is_seen_and_on_what_was_seen(env: type[gymnasium.Env[Any, Any]], best: float) -> None:
    policy = _policy(env())
    result = train_ppo(policy, env, total_steps=12_000, seed=0, target_return=best, settings=SETTINGS)
    assert result.target_reached
    assert result.mean_return == best
    assert result.steps < 12_000


def test_an_environment_of_another_game_is_refused_before_a_step() -> None:
    policy = _policy(CopyEnv())
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with pytest.raises(UnfitEnvironmentError) as caught:
        train_ppo(policy, "Acrobot-v1", total_steps=64, seed=0, settings=SETTINGS)
    assert caught.value.environment == "Acrobot-v1"
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        policy = _policy(CopyEnv())
        train_ppo(policy, CopyEnv, total_steps=256, seed=seed, settings=SETTINGS)
        return torch.cat([p.detach().flatten() for p in policy.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_progress_is_told_after_every_update_and_never_exceeds_the_total() -> None:
    told: list[TrainingProgress] = []
    result = train_ppo(_policy(CopyEnv()), CopyEnv, total_steps=300, seed=0, settings=SETTINGS, on_progress=told.append)
    assert [progress.step for progress in told] == [128, 256, 300]
    assert told[-1].mean_return is not None
    assert 0 <= told[-1].mean_return <= 4
    assert result.steps == 384
    assert result.episodes == 384 // 4


def test_frozen_parameters_are_not_touched_and_the_mode_is_given_back() -> None:
    class Frozen(SamplePolicy):
        @property
        def training_spec(self) -> TrainingSpec:
            return super().training_spec.model_copy(update={"frozen_prefixes": ("core.",)})

    policy = _policy(CopyEnv(), Frozen)
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    assert policy.training
    train_ppo(policy, CopyEnv, total_steps=256, seed=0, settings=SETTINGS)
    changed = {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"head.weight", "head.bias", "value_head.weight", "value_head.bias"}
    assert policy.training


def test_torch_s_own_generator_and_thread_count_are_left_alone() -> None:
    threads, before = torch.get_num_threads(), torch.random.get_rng_state()
    train_ppo(_policy(CopyEnv()), CopyEnv, total_steps=128, seed=0, settings=SETTINGS)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), before)


class Elsewhere(SamplePolicy):
    @property
    def module(self) -> Any:
        return None


class AllFrozen(SamplePolicy):
    @property
    def training_spec(self) -> TrainingSpec:
        return super().training_spec.model_copy(update={"frozen_prefixes": ("",)})


@pytest.mark.parametrize(("cls", "reasons"), [(Undeclared, 1), (Elsewhere, 1), (AllFrozen, 1)])
def test_policy_that_cannot_be_trained_is_refused_before_any_step(cls: type[SamplePolicy], reasons: int) -> None:
    policy: Policy = _policy(CopyEnv(), cls)

    def no_env() -> gymnasium.Env[Any, Any]:
        raise AssertionError("an environment was made")

    with pytest.raises(UntrainablePolicyError) as caught:
        train_ppo(policy, no_env, total_steps=10, seed=0)
    assert caught.value.subject == cls.__name__
    assert len(caught.value.reasons) == reasons
    assert pickle.loads(pickle.dumps(caught.value)).reasons == caught.value.reasons
