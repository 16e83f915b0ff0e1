"""Prints what the importable policy_interface promises beyond its signatures, as JSON.

Config schemas, the fields of an output, capabilities, the bases of each error, the training spec of a policy under
every layout and kind of action, and the digests of seeded draws. What cannot be probed is reported as the error it
raised.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import policy_interface as contract
import torch
from policy_interface.testing import sample_actions, sample_observation

FIRST_CAPABILITIES = ("entropy", "log_prob", "logits", "value")


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"


def exported() -> dict[str, Any]:
    return {name: getattr(contract, name) for name in contract.__all__ if hasattr(contract, name)}


def rules_of_every_kind() -> dict[str, Callable[[], Any]]:
    number = contract.Feature(name="position", id=0, scale=2.5)
    pair = contract.Feature(name="velocity", id=1, shape=(2,), low=-1, high=1)
    image = contract.Feature(name="screen", id=0, shape=(3, 4, 4), dtype="uint8")
    discrete = contract.DiscreteActions.of("left", "right")
    continuous = contract.ContinuousActions(dimensions=(contract.ContinuousDimension(name="x", id=0, low=-2, high=2),))
    axis = contract.ActionAxis(name="move", id=0, choices=discrete.choices)
    multi = contract.MultiDiscreteActions(axes=(axis,))
    rules, layouts = contract.GameRules, contract
    return {
        "vector": lambda: rules(features=(number, pair), actions=discrete),
        "dict": lambda: rules(features=(number, pair), layout=layouts.DictLayout(), actions=continuous),
        "image": lambda: rules(features=(image,), layout=layouts.ImageLayout(), actions=multi),
        "tokens": lambda: rules(
            features=(number,), layout=layouts.TokenLayout(tokens=8, height=5, width=7), actions=discrete
        ),
    }


class ProbeArchitecture(contract.PolicyArchitecture):
    kind: ClassVar[str] = "probe"
    width: int = 2

    def make_policy(self, rules: Any) -> Any:
        return ProbePolicy(self, rules)


class ProbePolicy(contract.Policy):
    def __init__(self, architecture: Any, rules: Any) -> None:
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset(c for c in contract.Capability if c in FIRST_CAPABILITIES)

    def initial_state(self, batch_size: int) -> Any:
        return {"core": (torch.zeros(batch_size, 2), torch.zeros(batch_size, 3)), "steps": torch.zeros(batch_size)}

    def act(self, observation: Any, state: Any, **options: Any) -> Any:
        raise NotImplementedError


def training_spec(rules: Any) -> Any:
    return ProbePolicy(None, rules).training_spec.to_document()


def draw_digest(rules: Any) -> str:
    generator = torch.Generator().manual_seed(3)
    observation = sample_observation(rules, 3, generator)
    leaves = {**contract.flatten_state(observation), "action": sample_actions(rules, 3, generator)}
    found = hashlib.sha256()
    for name, value in sorted(leaves.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)} {value.tolist()}".encode())
    return found.hexdigest()


def main() -> None:
    names = exported()
    configs = {n: v for n, v in names.items() if inspect.isclass(v) and issubclass(v, contract.Config)}
    errors = {n: v for n, v in names.items() if inspect.isclass(v) and issubclass(v, Exception)}
    rules = {name: attempt(make) for name, make in rules_of_every_kind().items()}
    document = {
        "schemas": {name: attempt(cls.model_json_schema) for name, cls in configs.items()},
        "output": [[name, name in contract.PolicyOutput._field_defaults] for name in contract.PolicyOutput._fields],
        "capabilities": [str(capability) for capability in contract.Capability],
        "errors": {name: [base.__name__ for base in cls.__mro__[1:-1]] for name, cls in errors.items()},
        "specs": {n: attempt(training_spec, r) for n, r in rules.items()},
        "document": attempt(ProbeArchitecture().to_document),
        "fingerprints": {name: attempt(contract.GameRules.fingerprint, r) for name, r in rules.items()},
        "draws": {name: attempt(draw_digest, r) for name, r in rules.items()},
    }
    json.dump(document, sys.stdout, sort_keys=True)


main()
