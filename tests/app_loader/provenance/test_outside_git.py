"""A policy saved from a working tree outside git: told as what it is, with a next command that helps."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from app_loader import Store, save_policy
from app_loader.code_record import UnrecordedSourceWarning
from click.testing import CliRunner, Result
from mpt_format import open_archive
from mpt_format.cli import mpt
from policy_interface import DiscreteActions, Feature, GameRules

SOURCE = """
from typing import ClassVar
import torch
from policy_interface import Capability, Policy, PolicyArchitecture, PolicyOutput

class BareArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "bare"

    def make_policy(self, rules):
        return Bare(self, rules)

class Bare(torch.nn.Module, Policy):
    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({Capability.LOGITS})
        self.layer = torch.nn.Linear(rules.observation_size, 2)

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        logits = self.layer(observation)
        return PolicyOutput(action=logits.argmax(-1) if action is None else action, state={}, logits=logits)
"""
POINTS = "[policy_interface.architectures]\nbare = bare_zoo:BareArchitecture\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that is installed where it lies, in a folder that is no repository; the current folder."""
    project, info = tmp_path / "project", tmp_path / "site" / "bare_zoo-0.1.dist-info"
    (project / "bare_zoo").mkdir(parents=True)
    (project / "bare_zoo" / "__init__.py").write_text(SOURCE)
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bare-zoo\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(POINTS)
    (info / "RECORD").write_text("bare_zoo-0.1.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}')
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(project)
    monkeypatch.chdir(tmp_path)
    architecture = importlib.import_module("bare_zoo").BareArchitecture()
    torch.manual_seed(0)
    rules = GameRules(features=(Feature(name="position", id=0),), actions=DiscreteActions.of("left", "right"))
    with pytest.warns(UnrecordedSourceWarning, match="git"):
        save_policy(architecture.make_policy(rules), "run.mpt")
    yield project
    sys.modules.pop("bare_zoo", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(mpt, list(arguments))


def test_the_digest_of_files_is_not_told_as_that_of_a_wheel_and_the_source_is_not_asked_for(
    tree: Path, store: Store
) -> None:
    with open_archive("run.mpt") as archive:
        record = archive.manifest.code
    assert record is not None
    assert (record.wheel_sha256, record.commit) == (None, None)
    assert record.package_sha256 is not None
    (tree / "bare_zoo" / "__init__.py").write_text(SOURCE + "# changed\n")
    there = ("--store", str(store.path))
    commands = []
    for arguments in (("load", "run.mpt"), ("zoo", "add", "run.mpt"), ("zoo", "add", "run.mpt", "--from-source")):
        refused = run(*arguments, *there)
        assert refused.exit_code == 1
        assert "sha256:" not in refused.stderr
        assert not refused.stderr.startswith("building")
        commands.append(refused.stderr.rpartition("Run: ")[2])
    assert record.package_sha256[:12] in run("load", "run.mpt", *there).stderr
    assert not any("--from-source" in command for command in commands)


def test_a_wheel_of_the_same_files_is_what_the_next_command_wants(
    tree: Path, store: Store, make_wheel: Callable[..., Path]
) -> None:
    (tree / "bare_zoo" / "__init__.py").write_text(SOURCE + "# changed\n")
    refused = run("load", "run.mpt", "--store", str(store.path))
    wheel = make_wheel("bare-zoo", "0.1", {"bare_zoo/__init__.py": SOURCE}, entry_points=POINTS)
    words = [
        str(wheel) if word == "WHEEL" else word for word in shlex.split(refused.stderr.rpartition("Run: ")[2], True)
    ]
    assert run(*words[1:]).exit_code == 0
    loaded = run("load", "run.mpt", "--store", str(store.path))
    assert loaded.exit_code == 0, loaded.output
