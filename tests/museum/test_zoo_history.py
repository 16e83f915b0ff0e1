"""docs/zoo-history.md is true: what moved from 0.1.0 to 0.2.0 is that, and only that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import LoadedPolicy, Store, load_policy
from app_loader.code import StoredCode
from policy_interface import InvalidConfigError, Policy, PolicyArchitecture, PolicyOutput
from policy_interface.testing import sample_observation

MUSEUM = Path(__file__).resolve().parents[2] / "museum"

Document = dict[str, Any]
Weights = dict[str, Any]


@pytest.fixture
def newer(store: Store) -> Callable[[str], type[PolicyArchitecture]]:
    entry = store.find("model-zoo", "0.2.0")
    assert entry is not None
    return StoredCode(entry).architecture_class


def _old(store: Store, name: str) -> tuple[LoadedPolicy, Document, Weights]:
    policy = load_policy(MUSEUM / "0.1.0" / f"{name}.mpt", store=store)
    assert policy.module is not None
    policy.module.eval()
    return policy, json.loads(json.dumps(policy.architecture.to_document())), dict(policy.module.state_dict())


def _built(architecture: type[PolicyArchitecture], document: Document, policy: Policy) -> Policy:
    return architecture.from_document(document).make_policy(policy.rules)


def _outputs(policy: Policy) -> PolicyOutput:
    assert policy.module is not None
    policy.module.eval()
    observation = sample_observation(policy.rules, 16, torch.Generator().manual_seed(4))
    with torch.no_grad():
        return policy.act(observation, policy.initial_state(16))


def _largest_difference(a: Policy, b: Policy) -> float:
    mine, theirs = _outputs(a), _outputs(b)
    assert mine.value is not None and theirs.value is not None
    assert mine.log_prob is not None and theirs.log_prob is not None
    return float(torch.cat([mine.value - theirs.value, mine.log_prob - theirs.log_prob]).abs().max())


def _restore(policy: Policy, weights: Weights) -> None:
    assert policy.module is not None
    policy.module.load_state_dict(weights, strict=True)


def test_conv_actor_critic_is_the_same(store: Store, newer: Callable[[str], type[PolicyArchitecture]]) -> None:
    old, document, weights = _old(store, "conv_actor_critic")
    new = _built(newer("conv_actor_critic"), document, old)
    _restore(new, weights)
    assert _largest_difference(old, new) < 1e-5
    assert newer("conv_actor_critic").schema_digest() == type(old.architecture).schema_digest()


@pytest.mark.parametrize("name", ["mlp_actor_critic", "mlp_actor_critic_continuous"])
def test_mlp_actor_critic_renamed_a_field_and_two_modules(
    name: str, store: Store, newer: Callable[[str], type[PolicyArchitecture]]
) -> None:
    old, document, weights = _old(store, name)
    with pytest.raises(InvalidConfigError) as caught:
        _built(newer("mlp_actor_critic"), {**document, "schema_version": 2}, old)
    assert {problem.path for problem in caught.value.problems} == {"config.hidden_sizes"}
    document["schema_version"] = 2
    document["config"]["layer_widths"] = document["config"].pop("hidden_sizes")
    new = _built(newer("mlp_actor_critic"), document, old)
    renamed = {
        key.replace("policy_net.", "actor.").replace("value_net.", "critic."): value for key, value in weights.items()
    }
    assert renamed.keys() != weights.keys()
    _restore(new, renamed)
    assert _largest_difference(old, new) < 1e-5


def test_mlp_actor_critic_has_another_default_and_declares_the_former_name(
    newer: Callable[[str], type[PolicyArchitecture]],
) -> None:
    fields = newer("mlp_actor_critic").model_json_schema()["properties"]
    assert fields["activation"]["default"] == "silu"
    assert fields["layer_widths"]["former_names"] == ["hidden_sizes"]


def test_token_recurrent_changed_what_no_key_and_no_shape_shows(
    store: Store, newer: Callable[[str], type[PolicyArchitecture]]
) -> None:
    old, document, weights = _old(store, "token_recurrent")
    new = _built(newer("token_recurrent"), document, old)
    _restore(new, weights)
    assert _largest_difference(old, new) > 0.1
    encoder = document["config"]["encoder"]
    embedding, wave = encoder["embedding_size"], 2 * encoder["coordinate_bands"]
    feature, row, column, value = weights["encoder.project.weight"].split([embedding, wave, wave, 1], dim=1)
    _restore(new, {**weights, "encoder.project.weight": torch.cat([feature, column, row, value], dim=1)})
    assert _largest_difference(old, new) < 1e-4


def test_morphogenetic_has_one_gain_per_channel(store: Store, newer: Callable[[str], type[PolicyArchitecture]]) -> None:
    old, document, weights = _old(store, "morphogenetic")
    new = _built(newer("morphogenetic"), document, old)
    assert new.module is not None
    wider = {
        key: (tuple(weights[key].shape), tuple(value.shape))
        for key, value in new.module.state_dict().items()
        if isinstance(value, torch.Tensor) and value.shape != weights[key].shape
    }
    assert wider == {"slots.early.seed.gain": ((1,), (16,)), "slots.mid.seed.gain": ((1,), (32,))}
    repeated = {key: weights[key].repeat(new_shape[0]) for key, (_, new_shape) in wider.items()}
    _restore(new, {**weights, **repeated})
    assert _largest_difference(old, new) < 1e-5
