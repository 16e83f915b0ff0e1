from __future__ import annotations

import pytest
import torch
from policy_interface import (
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    Policy,
    PolicyArchitecture,
    RulesMismatchError,
    TensorSpec,
)

from tests.policy_interface.sample_policies import SampleArchitecture, SamplePolicy


def test_contract_bases_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Policy()  # type: ignore[abstract]
    with pytest.raises(TypeError):
        PolicyArchitecture()  # type: ignore[abstract]


def test_policy_is_no_module_but_mixes_with_one(rules: GameRules) -> None:
    assert not issubclass(Policy, torch.nn.Module)
    policy = SampleArchitecture().make_policy(rules)
    assert isinstance(policy, Policy) and isinstance(policy, torch.nn.Module)


def test_policy_adapts_to_rules_under_which_nothing_changes(rules: GameRules) -> None:
    policy = SampleArchitecture().make_policy(rules)
    assert policy.adapt(rules.model_copy(update={"agents": 9})) is policy


def test_policy_refuses_rules_that_it_cannot_follow(rules: GameRules) -> None:
    policy = SampleArchitecture().make_policy(rules)
    other = rules.model_copy(update={"actions": DiscreteActions.of("right", "left")})
    with pytest.raises(RulesMismatchError) as caught:
        policy.adapt(other)
    assert {change.name for change in caught.value.comparison.changes} == {"left", "right"}


def test_training_spec_names_everything_that_a_rollout_keeps(rules: GameRules) -> None:
    spec = SampleArchitecture(hidden=6).make_policy(rules).training_spec
    assert spec.recurrent
    assert set(spec.rollout) == {"observation", "action", "entropy", "log_prob", "logits", "value", "state.memory"}
    assert spec.rollout["state.memory"] == TensorSpec(shape=(6,), dtype="float32")
    assert spec.rollout["logits"] == TensorSpec(shape=(2,), dtype="float32")
    assert spec.rollout["action"] == TensorSpec(shape=(), dtype="int64")


def test_training_spec_names_the_features_of_a_dict(rules: GameRules) -> None:
    keyed = GameRules(
        features=(Feature(name="hp", id=0, dtype="int64"),), layout=DictLayout(), actions=DiscreteActions.of("a")
    )
    policy = SamplePolicy(SampleArchitecture().resolve(keyed), keyed)
    assert policy.training_spec.rollout["observation.hp"] == TensorSpec(shape=(), dtype="int64")
