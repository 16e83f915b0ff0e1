"""Every kind keeps the contract, for every kind of action."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
import torch
from model_zoo import MlpActorCriticArchitecture
from policy_interface import (
    InvalidConfigError,
    Policy,
    PolicyOutput,
    check_policy,
    flatten_state,
)
from policy_interface.testing import sample_observation
from torch import nn

from tests.model_zoo.cases import ACTIONS, CASES, make_rules


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("case", CASES)
def test_policy_keeps_the_contract(case: str, actions: str) -> None:
    layout, architecture = CASES[case]
    rules = make_rules(layout, actions)
    check_policy(architecture.make_policy(rules), rules)


def test_every_kind_is_declared_as_an_entry_point_and_has_a_case() -> None:
    declared = {
        point.name: point.load()
        for point in entry_points(group="policy_interface.architectures")
        if point.dist is not None and point.dist.name == "model-zoo"
    }
    assert [cls.kind for cls in declared.values()] == list(declared)
    assert {type(architecture) for _, architecture in CASES.values()} == set(declared.values())


@pytest.mark.parametrize("case", CASES)
def test_nothing_stays_on_meta_after_a_strict_restore(case: str) -> None:
    layout, architecture = CASES[case]
    rules = make_rules(layout)
    trained = architecture.make_policy(rules)
    with torch.device("meta"):
        built = type(architecture).from_document(trained.architecture.to_document()).make_policy(rules)
    weights, module = _module(trained).state_dict(), _module(built)
    module.load_state_dict(weights, strict=True, assign=True)
    assert not [name for name, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    assert _same_steps(trained, built)


@pytest.mark.parametrize("case", CASES)
def test_resolved_config_names_the_author_only_for_what_the_author_set(case: str) -> None:
    layout, architecture = CASES[case]
    resolved = architecture.resolve(make_rules(layout))
    assert resolved != architecture
    assert resolved.fields_set() == architecture.fields_set()


def test_config_resolved_for_other_rules_is_refused_with_every_size() -> None:
    resolved = MlpActorCriticArchitecture().resolve(make_rules("vector", "multi_discrete"))
    with pytest.raises(InvalidConfigError) as caught:
        MlpActorCriticArchitecture(observation_size=3, action_size=resolved.action_size).resolve(make_rules("vector"))
    assert [problem.path for problem in caught.value.problems] == ["observation_size", "action_size"]


@pytest.mark.parametrize("case", CASES)
def test_observations_of_another_layout_are_refused(case: str) -> None:
    layout, architecture = CASES[case]
    with pytest.raises(InvalidConfigError) as caught:
        architecture.make_policy(make_rules("image" if layout != "image" else "vector"))
    assert caught.value.problems[0].path == "rules.layout.kind"


def _module(policy: Policy) -> nn.Module:
    assert policy.module is not None
    return policy.module


def _same_steps(a: Policy, b: Policy) -> bool:
    for policy in (a, b):
        _module(policy).eval()
    observation = sample_observation(a.rules, 4, torch.Generator().manual_seed(3))
    state = a.initial_state(4)
    for _ in range(2):
        mine, theirs = a.act(observation, state), b.act(observation, state)
        if any(not torch.equal(x, y) for x, y in zip(_tensors(mine), _tensors(theirs), strict=True)):
            return False
        state = mine.state
    return True


def _tensors(output: PolicyOutput) -> list[torch.Tensor]:
    given = [value for name, value in output._asdict().items() if name != "state" and value is not None]
    return [*given, *flatten_state(output.state).values()]
