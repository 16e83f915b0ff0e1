from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
from policy_interface import (
    ContractViolationError,
    DiscreteActions,
    Feature,
    GameRules,
    InvalidConfigError,
    PolicyInterfaceError,
    Problem,
    RulesMismatchError,
)

PROBLEMS = (Problem(path="config.width", message="too small"), Problem(path="rules", message="differ"))
OLD = GameRules(features=(Feature(name="hp", id=0),), actions=DiscreteActions.of("left"))
NEW = GameRules(features=(Feature(name="mana", id=0),), actions=DiscreteActions.of("left"))
ERRORS = [
    PolicyInterfaceError("plain"),
    InvalidConfigError("Net", PROBLEMS),
    RulesMismatchError(OLD.compare(NEW)),
    ContractViolationError("MyPolicy", PROBLEMS),
]


def tree(cls: type[PolicyInterfaceError]) -> Iterator[type[PolicyInterfaceError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_survives_pickle_and_copy(error: PolicyInterfaceError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_error_of_the_contract_is_pickled_here() -> None:
    own = {cls for cls in tree(PolicyInterfaceError) if cls.__module__ == "policy_interface.errors"}
    assert own == {type(error) for error in ERRORS}


def test_bad_config_is_also_a_value_error() -> None:
    assert issubclass(InvalidConfigError, ValueError)


def test_message_lists_every_problem_with_its_path() -> None:
    text = str(InvalidConfigError("Net", PROBLEMS))
    assert all(problem.path in text and problem.message in text for problem in PROBLEMS)
