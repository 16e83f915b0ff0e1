"""Wheels that nobody here wrote: two versions in one process, each equal to itself alone in a clean interpreter.

They are fetched from the package index by `mpt zoo add name==version`, with settings that list it for these names and
no others. The private companions are named here.
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
    "lightning": {
        "2.4.0": ("lightning==2.4.0", "pytorch-lightning==2.4.0", "torchmetrics==1.4.3", "lightning-utilities==0.11.9"),
        "2.5.5": ("lightning==2.5.5", "pytorch-lightning==2.5.5", "torchmetrics==1.8.2", "lightning-utilities==0.15.2"),
    },
    "pyro_ppl": {
        "1.8.6": ("pyro-ppl==1.8.6", "pyro-api==0.1.2", "opt-einsum==3.3.0"),
        "1.9.1": ("pyro-ppl==1.9.1", "pyro-api==0.1.2", "opt-einsum==3.4.0"),
    },
    "einops": {"0.6.1": ("einops==0.6.1",), "0.8.1": ("einops==0.8.1",)},
}
DEFAULT_INDEX = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
SETTINGS = """
fetch = true
indexes = [{{ url = "{url}", packages = [{names}] }}]
"""


def run(*command: str, **variables: str) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that let the index of this machine give the packages of this test."""
    given = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    url = given or run("uv", "run", "--no-project", "--quiet", "--with", "pip", "python", "-c", DEFAULT_INDEX).strip()
    every = {text.partition("==")[0] for versions in UNITS.values() for unit in versions.values() for text in unit}
    file = tmp_path_factory.mktemp("settings") / "mpt.toml"
    file.write_text(SETTINGS.format(url=url, names=", ".join(f'"{name}"' for name in sorted(every))))
    return file


@pytest.mark.filterwarnings("ignore")  # of old releases under today's Python; not ours to mend
@pytest.mark.parametrize("name", UNITS)
def test_two_versions_in_one_process_answer_as_each_does_alone(name: str, tmp_path: Path, settings: Path) -> None:
    alone, root = {}, tmp_path / "store"
    store = Store(root)
    for version, (main, *companions) in UNITS[name].items():
        folder = tmp_path / version
        run("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), main, *companions)
        alone[version] = json.loads(run(sys.executable, probes.__file__, name, str(folder)))
        named = [each for companion in companions for each in ("--with", companion)]
        add = ("mpt", "zoo", "add", main, *named, "--no-companions", "--store", str(root))
        added = run(*add, MPT_SETTINGS=str(settings)).splitlines()[0]
        assert added.startswith("added ")
        assert f" {version} sha256:" in added
    assert alone[next(iter(alone))] != alone[next(reversed(alone))]
    torch.set_num_threads(1)
    distribution = name.replace("_", "-")
    for version in [*alone, *alone]:  # each twice, in turns

        def load(module: str, version: str = version) -> object:
            return import_isolated(f"{distribution}=={version}", module, store=store)

        answers = json.loads(json.dumps(getattr(probes, name)(load)))
        assert answers == alone[version]


@pytest.mark.parametrize("mode", ["sealed", "app"])
def test_a_row_of_the_table_is_repeated_by_one_command(mode: str) -> None:
    lines = run(sys.executable, "-m", "end_to_end.packages.alongside", "--row", "captum", "--mode", mode).splitlines()
    compared = [line for line in lines if " answers " in line]
    assert len(compared) == {"sealed": 4, "app": 6}[mode]
    assert all(line.endswith(" answers as alone") for line in compared)
