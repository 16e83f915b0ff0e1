"""Exhibits of two versions at once where isolation usually breaks: pickled, in a spawned worker, compiled, exported."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest
import torch
from app_loader import LoadedPolicy, Store, load_policy
from policy_interface import Policy
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("0.1.0", "0.2.0")


def exhibit(version: str, name: str) -> Path:
    return ROOT / "museum" / version / f"{name}.mpt"


@pytest.fixture(scope="module", params=["mlp_actor_critic", "token_recurrent"])
def loaded(request: pytest.FixtureRequest, store: Store) -> dict[str, tuple[LoadedPolicy, dict[str, torch.Tensor]]]:
    """One kind in both versions, each with its record."""
    return {
        version: (
            load_policy(exhibit(version, request.param), store=store),
            load_file(exhibit(version, request.param).with_suffix(".record.safetensors")),
        )
        for version in VERSIONS
    }


def first_outputs(policy: Policy, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return action and logits of the first step."""
    with torch.no_grad():
        output = policy.act(observation, policy.initial_state(len(observation)))
    assert output.logits is not None
    return output.action, output.logits


def in_worker(content: bytes, observation: torch.Tensor) -> tuple[str, bytes, bytes]:
    """Unpickle a policy, run its first step, and return the version and the bytes of action and logits."""
    torch.set_num_threads(1)
    policy = pickle.loads(content)
    action, logits = first_outputs(policy, observation)
    return policy.origin.version, action.numpy().tobytes(), logits.numpy().tobytes()


def test_each_version_is_a_policy_of_the_one_contract(loaded):
    for version, (policy, _) in loaded.items():
        assert isinstance(policy, Policy)
        assert isinstance(policy.module, Policy)
        assert policy.origin.version == version


def test_a_pickled_policy_computes_the_recorded_outputs(loaded):
    for policy, record in loaded.values():
        action, logits = first_outputs(pickle.loads(pickle.dumps(policy)), record["observation"][0])
        assert torch.equal(action, record["action"][0])
        torch.testing.assert_close(logits, record["logits"][0], atol=1e-6, rtol=1e-6)


def test_a_spawned_worker_computes_what_this_process_computes_for_every_version(loaded):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for version, (policy, record) in loaded.items():
            told, action, logits = pool.apply(in_worker, (pickle.dumps(policy), record["observation"][0]))
            assert told == version
            assert action == record["action"][0].numpy().tobytes()
            assert len(logits) == record["logits"][0].numel() * 4


def test_compiled_policies_take_turns_without_computing_each_others_answers(loaded):
    torch.compiler.reset()
    compiled = {version: torch.compile(policy.act, backend="eager") for version, (policy, _) in loaded.items()}
    for _ in range(2):
        for version, (policy, record) in loaded.items():
            observation = record["observation"][0]
            with torch.no_grad():
                output = compiled[version](observation, policy.initial_state(len(observation)))
            assert torch.equal(output.action, record["action"][0])
            torch.testing.assert_close(output.logits, record["logits"][0], atol=1e-6, rtol=1e-6)


def test_exported_graphs_keep_their_versions_answers(loaded):
    for policy, record in loaded.values():
        observation = record["observation"][0]
        inputs = (observation, policy.initial_state(len(observation)))
        graph = torch.export.export(policy.module, inputs, strict=True).module()
        with torch.no_grad():
            torch.testing.assert_close(graph(*inputs).logits, record["logits"][0], atol=1e-6, rtol=1e-6)
