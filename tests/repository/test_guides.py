"""What the guides show as a command's output is what the command prints, word for word.

A block below `<!-- output of: mpt ... -->` is compared with a run of that command. A line of three dots stands for any
number of lines, and three dots at the end of a line for the rest of it.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_loader import Store
from app_loader.store import store as store_module
from click.testing import CliRunner
from mpt_format.cli import mpt

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = re.compile(r"^<!-- output of: mpt (.+?) -->\s*\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown() -> Iterator[tuple[str, str, str]]:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for command, text in _SHOWN.findall(page.read_text(encoding="utf-8")):
            yield page.name, command, text


def pattern(text: str) -> re.Pattern[str]:
    lines = []
    for line in text.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        elif line.endswith("..."):
            lines.append(re.escape(line.removesuffix("...")) + r".*\n")
        else:
            lines.append(re.escape(line.rstrip()) + r"[ ]*\n")
    return re.compile("".join(lines))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the museum, a checkpoint of 0.1.0 as `run.mpt`, and a store with the code that made it."""
    for wheel in sorted((ROOT / "wheelhouse").glob("model_zoo-0.1.0-*.whl")):
        Store(tmp_path / "store").add([wheel])
    (tmp_path / "museum").symlink_to(ROOT / "museum")
    shutil.copy(ROOT / "museum" / "0.1.0" / "mlp_actor_critic.mpt", tmp_path / "run.mpt")
    monkeypatch.setenv(store_module.STORE_VARIABLE, str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "command", "text"), list(shown()), ids=lambda value: str(value)[:40])
def test_the_shown_output_is_the_real_one(folder: Path, page: str, command: str, text: str) -> None:
    printed = CliRunner().invoke(mpt, shlex.split(command)).output
    assert pattern(text).fullmatch(printed), f"{page}: mpt {command} prints\n{printed}"


def test_another_word_is_noticed() -> None:
    assert pattern("one\n...\nthree, f...\n").fullmatch("one\ntwo\nthree, four\n")
    assert not pattern("one\n...\nfour\n").fullmatch("one\ntwo\nthree\n")
    assert {page for page, _, _ in shown()} >= {"diagnosis.md", "migration.md"}
