"""The contract that model code and application code share: the only code that both import.

Light by design: pydantic and pyyaml, torch only in types. `policy_interface.testing` (the conformance check) needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from policy_interface.actions import (
    Action,
    ActionAxis,
    Actions,
    ContinuousActions,
    ContinuousDimension,
    DiscreteActions,
    MultiDiscreteActions,
)
from policy_interface.architecture import PolicyArchitecture
from policy_interface.comparison import RulesChange, RulesComparison
from policy_interface.config import ComponentConfig, Config, canonical_json, canonical_yaml
from policy_interface.errors import (
    ContractViolationError,
    InvalidConfigError,
    PolicyInterfaceError,
    Problem,
    RulesMismatchError,
)
from policy_interface.game_rules import GameRules
from policy_interface.observations import DictLayout, Feature, ImageLayout, Layout, TokenLayout, VectorLayout
from policy_interface.origin import ORIGIN_ATTRIBUTE, Origin, origin_of
from policy_interface.policy import Capability, Policy, PolicyOutput
from policy_interface.state import State, flatten_state, map_state, unflatten_state
from policy_interface.training import TensorSpec, TrainingSpec

if TYPE_CHECKING:
    from policy_interface.testing import check_policy

__all__ = [
    "ORIGIN_ATTRIBUTE",
    "Action",
    "ActionAxis",
    "Actions",
    "Capability",
    "ComponentConfig",
    "Config",
    "ContinuousActions",
    "ContinuousDimension",
    "ContractViolationError",
    "DictLayout",
    "DiscreteActions",
    "Feature",
    "GameRules",
    "ImageLayout",
    "InvalidConfigError",
    "Layout",
    "MultiDiscreteActions",
    "Origin",
    "Policy",
    "PolicyArchitecture",
    "PolicyInterfaceError",
    "PolicyOutput",
    "Problem",
    "RulesChange",
    "RulesComparison",
    "RulesMismatchError",
    "State",
    "TensorSpec",
    "TokenLayout",
    "TrainingSpec",
    "VectorLayout",
    "canonical_json",
    "canonical_yaml",
    "check_policy",
    "flatten_state",
    "map_state",
    "origin_of",
    "unflatten_state",
]


def __getattr__(name: str) -> object:
    if name == "check_policy":  # needs torch, which the contract itself does not
        return importlib.import_module("policy_interface.testing").check_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
