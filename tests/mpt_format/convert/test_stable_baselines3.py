"""A stable-baselines3 PPO becomes an archive whose policy in the zoo acts the same, with the real library."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app_loader import Store, load_policy
from app_loader.trainer_state import OptimizerState, read_optimizer_state
from click.testing import CliRunner
from mpt_format import open_archive
from mpt_format.audit import audit_checkpoint
from mpt_format.cli.convert import convert
from policy_interface import DiscreteActions, Feature, GameRules

OBSERVATIONS = 1000
WHEEL = Path(__file__).parents[3] / "wheelhouse" / "model_zoo-0.2.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from stable_baselines3 import PPO

    path = tmp_path_factory.mktemp("sb3") / "model.zip"
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, n_epochs=2, device="cpu", seed=0)
    model.learn(128)
    model.save(path)
    return path


def _rules() -> GameRules:
    names = ("cart_position", "cart_velocity", "pole_angle", "pole_velocity")
    features = tuple(Feature(name=name, id=at) for at, name in enumerate(names))
    return GameRules(features=features, actions=DiscreteActions.of("left", "right"))


def test_zip_is_audited_in_all_its_parts(trained: Path) -> None:
    audit = audit_checkpoint(trained)
    assert audit.container == "sb3-zip"
    assert audit.verdict in ("incompatible", "suspicious")
    assert any(finding.stream.startswith("data[") for finding in audit.findings)
    assert audit.root_type is not None
    members = [note for note in audit.notes if "loads in torch 2.9" in note]
    assert len(members) == 3 and any("policy.pth" in note for note in members)


def test_converted_policy_gives_the_same_actions_on_a_thousand_observations(trained: Path, tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    rules = _rules()
    (tmp_path / "rules.json").write_text(json.dumps(rules.to_document()))
    (tmp_path / "config.yaml").write_text("layer_widths: [64, 64]\nactivation: tanh\n")
    output = tmp_path / "run.mpt"
    arguments = [str(trained), "-o", str(output), "--kind", "mlp_actor_critic", "--schema-version", "2"]
    arguments += ["--config", str(tmp_path / "config.yaml"), "--rules", str(tmp_path / "rules.json")]
    arguments += ["--map", "sb3_ppo_mlp", "--wheel", str(WHEEL)]
    result = CliRunner().invoke(convert, arguments)
    assert result.exit_code == 0, result.output

    assert audit_checkpoint(output).verdict == "ok"
    store = Store(tmp_path / "store")
    store.add([WHEEL])
    policy = load_policy(output, store=store)

    model = PPO.load(trained, device="cpu")
    observations = np.random.default_rng(7).normal(size=(OBSERVATIONS, 4)).astype(np.float32) * 2
    expected, _ = model.predict(observations, deterministic=True)
    with torch.no_grad():
        output_of_zoo = policy.act(
            torch.from_numpy(observations), policy.initial_state(OBSERVATIONS), deterministic=True
        )
        distribution: Any = model.policy.get_distribution(torch.from_numpy(observations)).distribution
        values = model.policy.predict_values(torch.from_numpy(observations)).flatten()
    assert output_of_zoo.logits is not None and output_of_zoo.value is not None
    assert np.array_equal(output_of_zoo.action.numpy(), expected)
    shown = torch.log_softmax(output_of_zoo.logits, dim=-1)
    torch.testing.assert_close(shown, torch.log_softmax(distribution.logits, dim=-1))
    torch.testing.assert_close(output_of_zoo.value.flatten(), values)
    _check_moments(policy.module, read_optimizer_state(output), model)


def _check_moments(module: Any, state: OptimizerState, model: Any) -> None:
    """The moments of the zip's own optimizer stand at the parameters of the zoo that have the same values."""
    theirs = model.policy.optimizer
    moments = {p.detach().numpy().tobytes(): theirs.state[p]["exp_avg"] for p in model.policy.parameters()}
    compared = 0
    for name, parameter in module.named_parameters():
        expected = moments[parameter.detach().numpy().tobytes()]
        assert torch.equal(state.tensors[f"{name}/exp_avg"], expected)
        compared += 1
    assert compared == len(moments) == 12
    (group,) = state.document["groups"]
    assert group["options"]["eps"] == 1e-5


def test_state_inside_the_zip_is_the_policys(trained: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    result = CliRunner().invoke(convert, [str(trained), "-o", str(tmp_path / "plain.mpt"), "--json"])
    assert result.exit_code == 0, result.output
    with ZipFile(trained) as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    with open_archive(tmp_path / "plain.mpt") as archive:
        read = archive.read_tensors()
    assert set(read) == set(state)
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
