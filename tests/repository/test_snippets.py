"""Every Python snippet of the documentation runs, and every `mpt` line names a verb and options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from app_loader import Store, save_policy
from app_loader.store import store as store_module
from mpt_format.cli import mpt
from policy_interface import DiscreteActions, Feature, GameRules
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("packages/*/README.md")])
_CONSOLE = re.compile(r"^```(?:console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A snippet that no test can run says so and why, in the line before it: <!-- not executed: reason -->
_NOT_EXECUTED = re.compile(r"<!-- not executed: \S.*?-->\s*\n```python\n.*?^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def has_python(page: Path) -> bool:
    return "```python" in page.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of every released zoo and a checkpoint of today's code, `run.mpt`."""
    folder = tmp_path_factory.mktemp("snippets")
    store = Store(folder / "store")
    for wheel in sorted((ROOT / "wheelhouse").glob("model_zoo-*.whl")):
        store.add([wheel])
    save_policy(make_policy(), folder / "run.mpt")
    return folder


def make_policy() -> Any:
    from model_zoo import MlpActorCriticArchitecture

    features = (Feature(name="position", id=0, scale=2.4), Feature(name="velocity", id=1, shape=(2,)))
    rules = GameRules(features=features, actions=DiscreteActions.of("left", "right"))
    torch.manual_seed(0)
    return MlpActorCriticArchitecture().make_policy(rules)


@pytest.fixture
def given(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Go to a folder with what the pages speak of, and return the names that they take for granted."""
    shutil.copy(prepared / "run.mpt", tmp_path)
    for folder in ("wheelhouse", "museum", "examples", "tests"):
        if (ROOT / folder).exists():
            (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(store_module.STORE_VARIABLE, str(prepared / "store"))
    policy = make_policy()
    return {
        "policy": policy,
        "optimizer": torch.optim.Adam(policy.parameters()),
        "rules": policy.rules,
        "current_rules": policy.rules,
        "observation": torch.zeros(4, policy.rules.observation_size),
        "batch_size": 4,
        "run": "run.mpt",
        "path": "run.mpt",
    }


@pytest.mark.parametrize("page", [page for page in PAGES if has_python(page)], ids=name_of)
def test_python_snippets_of_the_page_run(page: Path, given: dict[str, Any], tmp_path: Path) -> None:
    text = _NOT_EXECUTED.sub("", page.read_text(encoding="utf-8"))
    copy = tmp_path / page.name
    copy.write_text(text, encoding="utf-8")
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(copy)
    document.namespace.update(given)
    for example in document.examples():
        example.evaluate()


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every `mpt` command of the page's shell blocks."""
    for block in _CONSOLE.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            for part in re.split(r"&&|\||;|>", line.removeprefix("$ ").partition(" #")[0]):
                try:
                    words = shlex.split(part)
                except ValueError:
                    continue
                while words and (words[0] in ("uv", "uvx", "run", "--no-sync", "$") or "=" in words[0]):
                    words.pop(0)
                if words[:1] == ["--from"]:
                    words = words[2:]
                if words[:1] == ["mpt"] and (line.startswith("$ ") or "$ " not in block):
                    yield words[1:]


def check_command(command: click.Command, words: list[str], context: click.Context | None = None) -> None:
    """Raise click.UsageError when a verb or option does not exist; values are not looked at."""
    context = click.Context(command, parent=context)
    options = {
        spelling
        for parameter in command.get_params(context)
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    for number, word in enumerate(words):
        if word.startswith("-") and word not in ("-", "--") and not word.lstrip("-").isdigit():
            if word.partition("=")[0] not in options | {"-h", "--help"}:
                raise click.UsageError(f"no option {word} of {command.name}")
        elif isinstance(command, click.Group):
            verb = command.get_command(context, word)
            if verb is None:
                raise click.UsageError(f"no verb {word}")
            return check_command(verb, words[number + 1 :], context)
    return None


SHELL_PAGES = [page for page in PAGES if list(commands(page))]


@pytest.mark.parametrize("page", SHELL_PAGES, ids=name_of)
def test_commands_of_the_page_exist_with_their_options(page: Path) -> None:
    for words in commands(page):
        check_command(mpt, words)


def test_commands_that_do_not_exist_are_noticed() -> None:
    check_command(mpt, ["inspect", "run.mpt", "--json"])
    for words in (["inspekt", "run.mpt"], ["inspect", "run.mpt", "--jsn"], ["--frobnicate"]):
        with pytest.raises(click.UsageError):
            check_command(mpt, words)
