"""All verbs speak with one voice, and docs/command-line.md says of each what it prints for programs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from app_loader import Store
from app_loader.store import store as store_module
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from mpt_format.cli import mpt

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (`mpt [^|]+`) \| (object|list)[^|]* \| (.+) \|$", re.MULTILINE)

WRITING = {"demo", "new-zoo", "pack", "sign", "unpack", "migrate draft", "zoo remove"}
"""The verbs that only write: what they did is told by their exit code and their files."""


def verbs(command: click.Command = mpt, name: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(command)
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word in command.list_commands(context):
        verb = command.get_command(context, word)
        assert verb is not None
        yield from verbs(verb, f"{name} {word}".strip())


VERBS = dict(verbs())


@pytest.mark.parametrize("name", VERBS)
def test_help_says_what_a_verb_does_in_one_line_and_shows_examples_of_it(name: str) -> None:
    verb = VERBS[name]
    summary, _, rest = (verb.help or "").partition("\n\n")
    assert summary.endswith(".")
    examples = [line.strip() for line in rest.partition("Example")[2].splitlines()[1:] if line.strip()]
    own = [line for line in examples if line.startswith(f"mpt {name}")]
    assert own, f"mpt {name} --help has no example of its own"


@pytest.mark.parametrize("name", VERBS)
def test_options_come_in_one_order_each_with_a_text(name: str) -> None:
    options = [option for option in VERBS[name].params if isinstance(option, click.Option)]
    assert all((option.help or "").endswith(".") for option in options)
    valued = [option for option in options if not option.is_flag and option.type.name != "choice"]
    assert all(option.metavar for option in valued)
    shared = [option.opts[0] for option in options if option.opts[0] in ("--store", "--json")]
    assert [option.opts[0] for option in options][len(options) - len(shared) :] == sorted(shared, reverse=True)


@pytest.mark.parametrize("name", sorted(VERBS.keys() - WRITING))
def test_a_verb_that_reads_or_judges_speaks_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in VERBS[name].params)
    assert any(f"mpt {name}" in row[0] for row in _ROW.findall(PAGE)), f"{name} has no row in docs/command-line.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with checkpoints, one foreign one, an application, and a store of two versions of the zoo."""
    here = tmp_path_factory.mktemp("verbs")
    for version in ("0.1.0", "0.2.0"):
        Store(here / "store").add([ROOT / "wheelhouse" / f"model_zoo-{version}-py3-none-any.whl"])
    (here / "checkpoints").mkdir()
    for name in ("run.mpt", "checkpoints/run.mpt"):
        shutil.copy(ROOT / "museum" / "0.1.0" / "mlp_actor_critic.mpt", here / name)
    torch.save({"state": {"weight": torch.zeros(2)}, "window": slice(1, 3)}, here / "old.pt")
    (here / "app.py").write_text("from model_zoo import MlpActorCriticArchitecture\n")
    return here


@pytest.fixture
def within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.setenv(store_module.STORE_VARIABLE, str(folder / "store"))
    return folder


CALLS = {
    "mpt inspect PATH": "inspect run.mpt",
    "mpt verify PATH...": "verify run.mpt old.pt",
    "mpt diff OLD NEW": f"diff run.mpt {ROOT}/museum/0.2.0/mlp_actor_critic.mpt",
    "mpt audit PATH...": "audit old.pt",
    "mpt convert PATH -o FILE": "convert old.pt -o new.mpt --weights-only",
    "mpt convert PATH... --into FOLDER": "convert old.pt app.py --into converted --weights-only",
    "mpt load PATH": "load run.mpt",
    "mpt eval PATH": "eval run.mpt --env CartPole-v1 --episodes 1",
    "mpt diagnose PATH": "diagnose run.mpt",
    "mpt migrate run PATH -o FILE": "migrate run run.mpt -o migrated.mpt",
    "mpt migrate run PATH... --into FOLDER": "migrate run run.mpt --into migrated",
    "mpt migrate check": "migrate check",
    "mpt zoo list": "zoo list",
    "mpt zoo show ENTRY": "zoo show model-zoo==0.1.0",
    "mpt zoo verify": "zoo verify",
    "mpt museum FOLDER": "museum checkpoints --no-current",
    "mpt lint-app PATH...": "lint-app app.py",
}


def rows() -> dict[str, tuple[str, str]]:
    return {shape.strip("`"): (kind, keys) for said, kind, keys in _ROW.findall(PAGE) for shape in said.split(", ")}


def names(keys: str) -> set[str]:
    """Return the keys that a cell names outside of parentheses."""
    return set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", keys)))


def test_every_row_of_the_page_is_asked() -> None:
    assert rows().keys() - CALLS.keys() == {"mpt zoo add SOURCE..."}


@pytest.mark.parametrize("shape", CALLS)
def test_what_programs_read_has_the_keys_that_the_page_names(shape: str, within: Path) -> None:
    kind, said = rows()[shape]
    done = CliRunner().invoke(mpt, [*shlex.split(CALLS[shape]), "--json"])
    document: Any = json.loads(done.stdout)
    assert isinstance(document, dict if kind == "object" else list)
    keys = set(document) if kind == "object" else {key for element in document for key in element}
    named = names(said) | (names(rows()["mpt zoo list"][1]) if "an entry above" in said else set())
    assert keys == named or shape == "mpt zoo verify"  # whose keys are the entries


@pytest.mark.parametrize(
    ("typed", "at", "expected"),
    [
        ("mpt zo", 1, "zoo"),
        ("mpt load --code 0.1", 3, "0.1.0"),
        ("mpt migrate run --to cur", 4, "current"),
        ("mpt zoo show mod", 3, "model-zoo==0.1.0"),
    ],
)
def test_verbs_versions_and_entries_are_completed(typed: str, at: int, expected: str, within: Path) -> None:
    words = typed.split()
    found = ShellComplete(mpt, {}, "mpt", "_MPT_COMPLETE").get_completions(words[1:at], words[at])
    assert expected in [item.value for item in found]


def test_paths_are_completed_as_files() -> None:
    for typed in (["audit"], ["convert"], ["verify"], ["load"], ["zoo", "add"], ["lint-app"], ["verify", "--key"]):
        (found,) = ShellComplete(mpt, {}, "mpt", "_MPT_COMPLETE").get_completions(typed, "run")
        assert found.type == "file"


def test_a_store_that_cannot_be_read_completes_nothing(within: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store_module.STORE_VARIABLE, str(within / "old.pt"))
    assert not ShellComplete(mpt, {}, "mpt", "_MPT_COMPLETE").get_completions(["zoo", "show"], "")
