"""The verbs through the command line: what is printed, what programs read, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from app_loader.environments.gymnasium import rules_from_env
from click.testing import CliRunner
from mpt_format.cli.group import mpt
from policy_interface import DiscreteActions, Feature, GameRules

WHEEL = Path(__file__).parents[3] / "wheelhouse" / "model_zoo-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A CartPole policy of model-zoo 0.1.0, untrained, its store, and a runner of `mpt`."""
    import gymnasium

    folder = tmp_path_factory.mktemp("run")
    code = StoredCode(Store(folder / "store").add([WHEEL]))
    with gymnasium.make("CartPole-v1") as env:
        rules = rules_from_env(env)
    torch.manual_seed(0)
    save_policy(code.architecture_class("mlp_actor_critic")().make_policy(rules), folder / "run.mpt")

    def invoke(verb: str, *arguments: str):
        return CliRunner().invoke(mpt, [verb, str(folder / "run.mpt"), "--store", str(folder / "store"), *arguments])

    return invoke


def test_load_prints_origin_resolution_witness_and_parameters(run):
    result = run("load")
    assert result.exit_code == 0, result.output
    for expected in ("model-zoo 0.1.0", "accepted", "rejected", "bit for bit", "policy_net.0.weight", "total"):
        assert expected in result.stdout


def test_load_gives_programs_the_same_as_json(run):
    document = json.loads(run("load", "--json").stdout)
    assert document["origin"]["version"] == "0.1.0"
    assert document["witness"]["bit_equal"] is True
    assert {c["source"]: c["accepted"] for c in document["resolution"]} == {"store": True, "environment": False}
    assert sum(p["elements"] for p in document["parameters"]) == 9155


def test_archive_without_a_witness_is_loaded_by_its_own_code_and_says_so(tmp_path):
    store = Store(tmp_path / "store")
    code = StoredCode(store.add([WHEEL]))
    rules = GameRules(features=(Feature(name="position", id=0),), actions=DiscreteActions.of("left", "right"))
    save_policy(code.architecture_class("mlp_actor_critic")().make_policy(rules), tmp_path / "run.mpt", witness=False)

    def load(*arguments: str):
        return CliRunner().invoke(mpt, ["load", str(tmp_path / "run.mpt"), "--store", str(store.path), *arguments])

    plain = load()
    assert plain.exit_code == 0, plain.output
    assert "none recorded" in plain.stdout
    assert json.loads(load("--json").stdout)["witness"] is None
    assert load("--verify", "witness").exit_code == 1  # who asks for the proof is told that there is none
    assert load("--code", "0.1.0").exit_code == 1


def test_a_version_that_is_not_there_is_refused_with_exit_code_1(run):
    result = run("load", "--code", "9.9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "mpt zoo add" in result.stderr


def test_a_wrong_option_is_a_usage_error(run):
    assert run("load", "--verify", "hope").exit_code == 2


def test_eval_is_repeatable(run):
    twice = [
        json.loads(run("eval", "--env", "CartPole-v1", "--episodes", "3", "--seed", "5", "--json").stdout) for _ in "ab"
    ]
    assert twice[0] == twice[1]
    assert len(twice[0]["returns"]) == 3
    assert twice[0]["returns"] == [float(length) for length in twice[0]["lengths"]]


def test_eval_names_near_environments(run):
    result = run("eval", "--env", "CartPole-v9")
    assert result.exit_code == 1
    assert "CartPole-v1" in result.stderr


@pytest.mark.parametrize("verb", ["load", "eval", "demo"])
def test_every_verb_shows_examples_in_its_help(verb):
    result = CliRunner().invoke(mpt, [verb, "--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.stdout


def test_eval_and_demo_name_the_extra_where_gymnasium_is_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    for result in (run("eval", "--env", "CartPole-v1"), CliRunner().invoke(mpt, ["demo"])):
        assert result.exit_code == 1
        assert "app-loader[gymnasium]" in result.output
