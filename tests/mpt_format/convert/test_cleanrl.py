"""A checkpoint in the layout of CleanRL's ppo.py becomes an archive whose policy in the zoo computes the same."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from app_loader import Store, load_policy
from click.testing import CliRunner
from mpt_format.cli.convert import convert
from policy_interface import DiscreteActions, Feature, GameRules
from torch import nn

WHEEL = Path(__file__).parents[3] / "wheelhouse" / "model_zoo-0.2.0-py3-none-any.whl"


def _tower(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def test_resumable_checkpoint_gives_the_same_logits_and_values(tmp_path: Path) -> None:
    torch.manual_seed(0)
    agent = nn.ModuleDict({"critic": _tower(1), "actor": _tower(2)})
    moments = {at: {"exp_avg": torch.ones_like(p)} for at, p in enumerate(agent.parameters())}
    observations = torch.randn(200, 4)
    source = tmp_path / "resume.pt"
    torch.save(
        {"agent": agent.state_dict(), "optimizer": {"state": moments, "param_groups": []}, "global_step": 3}, source
    )

    rules = GameRules(
        features=tuple(Feature(name=name, id=at) for at, name in enumerate("abcd")),
        actions=DiscreteActions.of("left", "right"),
    )
    (tmp_path / "rules.json").write_text(json.dumps(rules.to_document()))
    (tmp_path / "config.yaml").write_text("layer_widths: [64, 64]\nactivation: tanh\n")
    arguments = [str(source), "-o", str(tmp_path / "run.mpt"), "--kind", "mlp_actor_critic", "--schema-version", "2"]
    arguments += ["--config", str(tmp_path / "config.yaml"), "--rules", str(tmp_path / "rules.json")]
    arguments += ["--map", "cleanrl_ppo", "--wheel", str(WHEEL)]
    result = CliRunner().invoke(convert, arguments)
    assert result.exit_code == 0, result.output

    store = Store(tmp_path / "store")
    store.add([WHEEL])
    policy = load_policy(tmp_path / "run.mpt", store=store)
    with torch.no_grad():
        output = policy.act(observations, policy.initial_state(200), deterministic=True)
        logits, values = agent["actor"](observations), agent["critic"](observations)[:, 0]
    assert output.logits is not None and output.value is not None
    assert torch.equal(output.action, logits.argmax(dim=1))
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.value.flatten(), values)
