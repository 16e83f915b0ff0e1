"""The next command of an error raised in Python can be pasted: the archive, the store and the code are in it."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_loader import load_policy
from app_loader.errors import BuildError, MigrationError, RestoreError, WitnessError
from app_loader.migration.draft import draft_revision
from app_loader.migration.write import migrate_archive
from click.testing import CliRunner, Result
from history_zoo import RULES, Zoo, revisions_source
from mpt_format import TensorMismatchError, open_archive
from mpt_format.cli import mpt
from policy_interface import RulesMismatchError


def paste(error: BaseException) -> Result:
    """Run the command that an error ends with, and check that its text survives pickle."""
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    words = shlex.split(str(error).rpartition("Run: ")[2], comments=True)
    assert words[0] == "mpt"
    return CliRunner().invoke(mpt, words[1:])


def write(path: Path, zoo: Zoo, code: str) -> Any:
    return migrate_archive(path, zoo.folder / "new.mpt", code=code, store=zoo.store)


def draft(path: Path, zoo: Zoo, code: str) -> Any:
    return draft_revision(path, code=code, store=zoo.store)


def load(path: Path, zoo: Zoo, code: str) -> Any:
    return load_policy(path, code=code, store=zoo.store)


@pytest.fixture
def path(zoo: Zoo) -> Path:
    (zoo.folder / "my runs").mkdir()
    saved: Path = zoo.save("0.1.0", "my runs/run.mpt")
    return saved


def test_weights_that_do_not_fit_lead_to_the_diagnosis_of_that_code(zoo: Zoo, path: Path) -> None:
    with pytest.raises((BuildError, RestoreError)) as caught:
        load_policy(path, code="0.2.0", store=zoo.store)
    shown = paste(caught.value)
    assert shown.exit_code == 1
    assert "steady-zoo 0.2.0" in shown.stdout


def test_a_witness_that_is_not_met_leads_to_the_diagnosis_of_that_code(zoo: Zoo, path: Path) -> None:
    zoo.add("0.3.4", revisions=revisions_source(), twist=".flip(-1)")
    with pytest.raises(WitnessError) as caught:
        load_policy(path, code="0.3.4", store=zoo.store)
    shown = paste(caught.value)
    assert shown.exit_code == 1
    assert "steady-zoo 0.3.4" in shown.stdout


@pytest.mark.parametrize("work", [load, write, draft])
def test_a_draft_on_the_way_leads_to_the_check_of_that_code(
    zoo: Zoo, path: Path, work: Callable[[Path, Zoo, str], Any]
) -> None:
    zoo.add("0.3.5", revisions=revisions_source(reviewed=False))
    with pytest.raises(MigrationError) as caught:
        work(path, zoo, "0.3.5")
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.next_command == caught.value.next_command
    assert str(zoo.store.path) in again.next_command
    shown = paste(caught.value)
    assert "unreviewed drafts: r2_join" in shown.stderr


def test_other_rules_lead_to_the_diagnosis_with_the_path_in_it(zoo: Zoo, path: Path) -> None:
    today = RULES.model_copy(update={"features": RULES.features[:1]})
    with pytest.raises(RulesMismatchError) as caught:
        load_policy(path, store=zoo.store, rules=today)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    words = shlex.split(str(caught.value).rpartition("Run: ")[2], comments=True)
    (zoo.folder / "today.json").write_text(today.to_json())
    words[words.index("RULES")] = str(zoo.folder / "today.json")
    shown = CliRunner().invoke(mpt, words[1:])
    assert shown.exit_code == 1
    assert "speed" in shown.stdout


def test_the_command_line_names_the_code_that_it_was_asked_for(zoo: Zoo, path: Path) -> None:
    arguments = ["load", str(path), "--code", "0.2.0", "--store", str(zoo.store.path)]
    refused = CliRunner().invoke(mpt, arguments)
    words = shlex.split(refused.stderr.rpartition("Run: ")[2], comments=True)
    shown = CliRunner().invoke(mpt, words[1:])
    assert "steady-zoo 0.2.0" in shown.stdout


def test_an_error_of_the_format_names_the_path_too(path: Path) -> None:
    with open_archive(path) as archive, pytest.raises(TensorMismatchError) as caught:
        archive.read_tensors(prefix="nothing")
    words = shlex.split(str(caught.value).rpartition("`mpt ")[2].partition("`")[0])
    assert CliRunner().invoke(mpt, words).exit_code == 0
