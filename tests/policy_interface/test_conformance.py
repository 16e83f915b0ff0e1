from __future__ import annotations

import pytest
import torch
from policy_interface import ContractViolationError, GameRules, check_policy

from tests.policy_interface.sample_policies import BROKEN, SampleArchitecture

PATH_OF_BREAKAGE = {
    "Undeclared": "value",
    "NotGiven": "entropy",
    "NoCapabilities": "capabilities",
    "InventedCapability": "capabilities",
    "FloatAction": "action",
    "ColumnValue": "value",
    "NotFinite": "value",
    "ShrinkingState": "state",
    "BatchlessState": "initial_state.memory",
    "HiddenMemory": "value",
    "InPlaceState": "state.memory",
    "DeafToGenerator": "action",
    "IgnoresGivenAction": "action",
    "OtherLogProb": "log_prob",
    "BatchCoupled": "value",
    "Raising": "act",
    "Unresolved": "architecture",
    "ShapedByMemory": "module",
    "NeedsRealDevice": "architecture",
}


def test_policy_that_keeps_the_contract_passes(rules: GameRules) -> None:
    check_policy(SampleArchitecture().make_policy(rules), rules)


@pytest.mark.parametrize("breakage", PATH_OF_BREAKAGE)
def test_broken_policy_is_refused_at_the_broken_place(rules: GameRules, breakage: str) -> None:
    policy = SampleArchitecture(breakage=breakage).make_policy(rules)
    with pytest.raises(ContractViolationError) as caught:
        check_policy(policy, rules)
    assert PATH_OF_BREAKAGE[breakage] in {problem.path for problem in caught.value.problems}
    assert caught.value.subject == breakage


def test_every_way_to_break_the_contract_is_checked() -> None:
    assert set(BROKEN) == set(PATH_OF_BREAKAGE)


def test_every_breakage_is_told_at_once(rules: GameRules) -> None:
    class Worse(type(SampleArchitecture(breakage="NotGiven").make_policy(rules))):  # type: ignore[misc]
        def act(self, *args: object, **options: object) -> object:
            output = super().act(*args, **options)
            return output._replace(value=output.value[:, None])

    with pytest.raises(ContractViolationError) as caught:
        check_policy(Worse(SampleArchitecture().resolve(rules), rules), rules)
    assert {"entropy", "value"} <= {problem.path for problem in caught.value.problems}


def test_other_rules_than_the_policys_are_a_problem(rules: GameRules) -> None:
    other = rules.model_copy(update={"agents": 2})
    with pytest.raises(ContractViolationError) as caught:
        check_policy(SampleArchitecture().make_policy(rules), other)
    assert "rules" in {problem.path for problem in caught.value.problems}


def test_something_else_than_a_policy_is_refused(rules: GameRules) -> None:
    with pytest.raises(ContractViolationError) as caught:
        check_policy(torch.nn.Linear(1, 1), rules)  # type: ignore[arg-type]
    assert [problem.path for problem in caught.value.problems] == ["type"]


def test_check_leaves_weights_and_generator_alone(rules: GameRules) -> None:
    policy = SampleArchitecture().make_policy(rules)
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    before = torch.get_rng_state()
    check_policy(policy, rules)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, policy.state_dict()[name]) for name, value in weights.items())


def test_model_code_that_raises_later_is_a_problem_too(rules: GameRules) -> None:
    policy = SampleArchitecture(breakage="FloatAction").make_policy(rules)
    with pytest.raises(ContractViolationError) as caught:
        check_policy(policy, rules)
    assert {"action", "act"} <= {problem.path for problem in caught.value.problems}
