"""`mpt migrate check`: what a person left unfinished, and which zoo is meant where none is named."""

from __future__ import annotations

import shlex
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from history_zoo import Zoo, pack_files, revisions_source
from mpt_format.cli import mpt

EMPTY = """
EMPTY = Revision(
    id="r3_empty", parents=("r2_join",), since="0.3", kinds=("steady",), reviewed={reviewed},
    summary={summary!r},
    config=(DropField(path="size", reason={reason!r}, only=6),),
    tensors=(
        Drop(key="critic.bias", reason={reason!r}),
        Add(key="critic.shift", shape=(1,), init="zeros", reason={reason!r}),{question}
    ),
)
"""


def check(zoo: Zoo, version: str, **written: object) -> Result:
    told = {"summary": " ", "reason": "", "reviewed": True, "question": "", **written}
    zoo.add(version, revisions=revisions_source(more=", EMPTY", extra=EMPTY.format(**told)))
    command = ["migrate", "check", "--distribution", "steady-zoo", "--code", version, "--store", str(zoo.store.path)]
    return CliRunner().invoke(mpt, command)


def test_a_summary_and_reasons_that_are_empty_are_named_each(zoo: Zoo) -> None:
    found = check(zoo, "0.3.2")
    assert found.exit_code == 1
    lines = found.stderr.splitlines()
    assert len(lines) == 4
    for named in ("summary", "DropField of 'size'", "Drop of 'critic.bias'", "Add of 'critic.shift'"):
        assert sum(named in line and line.startswith("r3_empty: ") for line in lines) == 1


def test_a_revision_that_says_why_passes(zoo: Zoo) -> None:
    found = check(zoo, "0.3.2", summary="The head has no shift.", reason="it was zero")
    assert (found.exit_code, found.stderr) == (0, "")


def test_a_draft_is_told_with_everything_that_is_left_to_finish(zoo: Zoo) -> None:
    question = '\n        Choose(key="critic.gain", candidates=("a", "b"), evidence=()),'
    found = check(zoo, "0.3.2", reviewed=False, question=question)
    assert found.exit_code == 1
    for named in ("unreviewed drafts: r3_empty", "Choose of 'critic.gain'", "summary", "DropField of 'size'"):
        assert named in found.stderr


def test_the_next_command_beside_a_draft_says_what_is_left_to_finish(zoo: Zoo) -> None:
    check(zoo, "0.3.2", reviewed=False)
    path, there = zoo.save("0.1.0"), str(zoo.store.path)
    arguments = ["migrate", str(path), "--to", "0.3.2", "-o", str(zoo.folder / "new.mpt"), "--store", there]
    refused = CliRunner().invoke(mpt, arguments)
    assert refused.exit_code == 1
    command = shlex.split(refused.stderr.rpartition("Run: ")[2], comments=True)
    shown = CliRunner().invoke(mpt, command[1:])
    assert shown.exit_code == 1
    assert "r3_empty: its summary is empty" in shown.stderr


REVISIONS = """
from policy_interface.migrations import Revision
REVISIONS = (Revision(id="r1_first", parents=(), since="0.1", kinds=("lone",), summary="It begins.", reviewed=True),)
"""
PROJECT = """
[project]
name = "lone-zoo"
version = "0.1.0"
[project.entry-points."policy_interface.migrations"]
lone = "lone_zoo_migrations:REVISIONS"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of a zoo, with the current folder inside it."""
    folder = tmp_path / "lone-zoo"
    (folder / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(folder / "src")
    return folder


def test_the_zoo_whose_folder_it_is_is_checked_where_none_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[policy_interface.migrations]\nlone = lone_zoo_migrations:REVISIONS\n"
    wheel = pack_files(tmp_path, "lone-zoo", "0.1.0", {"lone_zoo_migrations.py": REVISIONS}, points)
    with zipfile.ZipFile(wheel) as archive:  # what installing a pure wheel does
        archive.extractall(tmp_path / "installed")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    found = CliRunner().invoke(mpt, ["migrate", "check"])
    sys.modules.pop("lone_zoo_migrations")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("lone-zoo 0.1.0: 1 revision\n")
    assert "r1_first" in found.stdout
    named = CliRunner().invoke(mpt, ["migrate", "check", "--distribution", "model-zoo"])
    assert "r0001_name_towers" in named.stdout


def test_a_zoo_of_this_folder_that_is_not_installed_is_never_taken_for_another(project: Path) -> None:
    found = CliRunner().invoke(mpt, ["migrate", "check"])
    assert found.exit_code == 2
    assert "r0001_name_towers" not in found.stdout
    command = shlex.split(found.stderr.rpartition("Run: ")[2])
    assert command[:3] == ["uv", "pip", "install"]
    assert command[-1] == str(project)


def test_a_zoo_that_is_nowhere_is_answered_with_those_that_are_installed() -> None:
    found = CliRunner().invoke(mpt, ["migrate", "check", "--distribution", "lost-zoo"])
    assert found.exit_code == 2
    assert "Run: mpt migrate check --distribution model-zoo" in found.stderr


@pytest.mark.parametrize("text", ["[project", "project = 1", "[project]\nname = 'app'\n", "\xff"])
def test_a_folder_that_is_no_zoos_project_means_the_default(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(mpt, ["migrate", "check"])
    assert found.exit_code == 0
    assert found.stdout.startswith("model-zoo ")
