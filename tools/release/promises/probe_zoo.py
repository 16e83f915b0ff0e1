"""Prints what every kind of an unpacked zoo wheel promises, as JSON; called with the wheel's folder first.

Per kind: the config's schema, and under every standard set of rules the resolved config, the tensor signature and the
outputs of three steps with parameters that are filled by a seed, so that initialisation does not matter. Standard input
holds configs, by kind and rules, to build instead of the defaults: so two versions are compared with equal configs.
Beside the kinds, the revisions that the wheel declares. Both are read from the wheel's own entry points, whatever the
zoo is called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import torch
from policy_interface import (
    ContinuousActions,
    ContinuousDimension,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    ImageLayout,
    InvalidConfigError,
    TokenLayout,
    flatten_state,
)
from policy_interface.testing import sample_observation

GROUP = "policy_interface.architectures"
MIGRATIONS = "policy_interface.migrations"
STEPS = 3
BATCH = 2


def standard_rules() -> dict[str, GameRules]:
    features = (Feature(name="position", id=0, scale=2.5), Feature(name="velocity", id=1, shape=(2,), low=-1, high=1))
    image = Feature(name="screen", id=0, shape=(3, 64, 64), dtype="uint8", low=0, high=255, scale=255)
    tokens = tuple(Feature(name=f"token_{i}", id=i, scale=1.0 + i, high=1 + 10 * i) for i in range(4))
    layout = TokenLayout(tokens=12, height=5, width=7)
    discrete = DiscreteActions.of("noop", "left", "right")
    continuous = ContinuousActions(
        dimensions=tuple(ContinuousDimension(name=n, id=i, low=-1, high=1) for i, n in enumerate("xy"))
    )
    return {
        "vector, discrete": GameRules(features=features, actions=discrete),
        "vector, continuous": GameRules(features=features, actions=continuous),
        "dict, discrete": GameRules(features=features, layout=DictLayout(), actions=discrete),
        "image, discrete": GameRules(features=(image,), layout=ImageLayout(), actions=discrete),
        "tokens, discrete": GameRules(features=tokens, layout=layout, actions=discrete),
    }


def declared(folder: str, group: str) -> Iterator[tuple[str, Any]]:
    for distribution in metadata.distributions(path=[folder]):
        for entry in distribution.entry_points:
            if entry.group == group:
                yield entry.name, entry.load()


def revisions(folder: str) -> Iterator[dict[str, Any]]:
    for _, found in declared(folder, MIGRATIONS):
        for revision in found:
            names = ("id", "since", "kinds", "reviewed")
            yield {name: getattr(revision, name) for name in names}


def fill(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def behaviour(policy: Any, rules: GameRules) -> dict[str, list[Any]]:
    fill(policy.module)
    policy.module.eval()
    generator = torch.Generator().manual_seed(5)
    state, found = policy.initial_state(BATCH), {}
    with torch.no_grad():
        for step in range(STEPS):
            output = policy.act(sample_observation(rules, BATCH, generator), state)
            state = output.state
            named = {"action": output.action, **{c: getattr(output, c) for c in sorted(policy.capabilities)}}
            named.update({f"state.{path}": leaf for path, leaf in flatten_state(state).items()})
            found.update({f"step {step} {name}": value.double().flatten().tolist() for name, value in named.items()})
    return found


def chosen(architecture: Any, config: Any) -> Any:
    document = {"kind": architecture.kind, "schema_version": architecture.schema_version, "config": config}
    try:
        return architecture.from_document(document) if config is not None else architecture()
    except InvalidConfigError:
        return architecture()  # the schema has changed; its comparison tells how


def describe(architecture: Any, rules: GameRules, config: Any) -> Any:
    try:
        policy = chosen(architecture, config).make_policy(rules)
    except InvalidConfigError:
        return None  # the kind does not serve such rules
    tensors = {
        name: [list(value.shape), str(value.dtype)]
        for name, value in policy.module.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    return {
        "config": policy.architecture.to_document()["config"],
        "tensors": tensors,
        "capabilities": sorted(policy.capabilities),
        "behaviour": behaviour(policy, rules),
    }


def describe_kind(architecture: Any, configs: dict[str, Any]) -> Any:
    return {
        "schema": architecture.model_json_schema(),
        "schema_version": architecture.schema_version,
        "under": {name: describe(architecture, one, configs.get(name)) for name, one in standard_rules().items()},
    }


def main() -> None:
    folder, configs = sys.argv[1], json.load(sys.stdin)
    kinds = {kind: describe_kind(found, configs.get(kind, {})) for kind, found in declared(folder, GROUP)}
    json.dump({"kinds": kinds, "revisions": list(revisions(folder))}, sys.stdout, sort_keys=True)


main()
