"""The first command of the README, whole: train with 0.1.0, load beside the newest, the same actions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mpt_format import open_archive

WHEELHOUSE = Path(__file__).parents[3] / "wheelhouse"


def test_the_demo_trains_saves_and_loads_the_same_policy_in_another_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mpt_format", "demo", "--wheelhouse", str(WHEELHOUSE), "--store", "my store"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"mpt load run.mpt --store '{tmp_path / 'my store'}'" in done.stdout
    assert "action for action" in done.stdout
    assert "model_zoo.mlp_actor_critic.MlpActorCritic [model-zoo 0.1.0]" in done.stdout
    with open_archive(tmp_path / "run.mpt") as archive:
        evaluation = archive.read_json("training.json")["evaluation"]
    assert len(evaluation["returns"]) == 20
    assert sum(evaluation["returns"]) / 20 >= 400


def test_outside_a_clone_the_demo_says_where_the_wheel_should_be(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mpt_format", "demo"],
        cwd=tmp_path, env={**os.environ, "MPT_STORE": str(tmp_path / "store")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "--wheelhouse" in done.stderr
