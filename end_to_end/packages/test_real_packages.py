"""Wheels that nobody here wrote: two versions in one process, each equal to itself alone in a clean interpreter.

They are fetched by name from the package index, without their dependencies: the private companions are named here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from app_loader import Store, import_isolated

from end_to_end.packages import probes

UNITS = {
    "x_transformers": {
        "1.42.0": ("x-transformers==1.42.0", "einops==0.8.0", "einx==0.3.0", "frozendict==2.4.6", "loguru==0.7.3"),
        "2.3.0": ("x-transformers==2.3.0", "einops==0.8.1", "einx==0.3.0", "frozendict==2.4.6", "loguru==0.7.3"),
    },
    "stable_baselines3": {
        "2.1.0": ("stable-baselines3==2.1.0", "gymnasium==0.29.1", "farama-notifications==0.0.4"),
        "2.7.0": ("stable-baselines3==2.7.0", "gymnasium==1.1.1", "farama-notifications==0.0.4"),
    },
}


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.filterwarnings("ignore")  # of old releases under today's Python; not ours to mend
@pytest.mark.parametrize("name", UNITS)
def test_two_versions_in_one_process_answer_as_each_does_alone(name: str, tmp_path: Path) -> None:
    store, alone = Store(tmp_path / "store"), {}
    for version, unit in UNITS[name].items():
        wheels, folder = tmp_path / f"{version}.wheels", tmp_path / version
        pip = ("uv", "run", "--no-project", "--quiet", "--with", "pip", "python", "-m", "pip")
        run(*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels), *unit)
        files = sorted(map(str, wheels.iterdir()))
        run("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *files)
        alone[version] = json.loads(run(sys.executable, probes.__file__, name, str(folder)))
        main = next(file for file in files if Path(file).name.startswith(f"{name}-"))
        store.add([main, *(file for file in files if file != main)])
    assert alone[next(iter(alone))] != alone[next(reversed(alone))]
    torch.set_num_threads(1)
    distribution = name.replace("_", "-")
    for version in [*alone, *alone]:  # each twice, in turns

        def load(module: str, version: str = version) -> object:
            return import_isolated(f"{distribution}=={version}", module, store=store)

        answers = json.loads(json.dumps(getattr(probes, name)(load)))
        assert answers == alone[version]
