"""A zoo made by `mpt new-zoo` goes the whole way: save, change, release, load old, diagnose, draft, check, prove.

Every step is typed as its README and the printed next commands say; installing a pure wheel is unpacking it.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from app_loader.cli.new_zoo import new_zoo
from app_loader.store import store as store_module
from click.testing import CliRunner, Result
from mpt_format.cli import mpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The folder of a new zoo, which is the current one, and where what it builds is installed."""

    folder: Path
    installed: Path

    def replace(self, file: str, *changes: tuple[str, str]) -> None:
        """Change the text of a file; each text has to be there."""
        path = self.folder / file
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)

    def run(self, command: str) -> Result:
        """Run a printed line as it stands."""
        words = shlex.split(command, comments=True)
        assert words[0] == "mpt"
        return CliRunner().invoke(mpt, words[1:])

    def paste(self, command: str) -> str:
        """Run a printed line, which has to succeed, and return what it printed."""
        done = self.run(command)
        assert done.exit_code == 0, f"{command}\n{done.output}"
        return done.stdout

    def save(self) -> None:
        """Run the program of the README, which writes run.mpt."""
        (program,) = re.findall(r"^```python\n(.*?)^```", (self.folder / "README.md").read_text(), re.M | re.S)
        exec(compile(program, "train.py", "exec"), {})

    def install(self) -> str:
        """Build the wheel, install it in the place of the one before, and return its path."""
        uv = os.environ.get("UV") or shutil.which("uv")
        assert uv is not None
        subprocess.run([uv, "build", "--quiet", "--wheel", "--clear", str(self.folder)], check=True)
        (wheel,) = (self.folder / "dist").glob("*.whl")
        shutil.rmtree(self.installed, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.installed)
        forget()
        return str(wheel)


def forget() -> None:
    """Forget the modules of the installed zoo, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "moon_zoo"]:
        sys.modules.pop(name)
    importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    folder = tmp_path / "moon-zoo"
    assert CliRunner().invoke(new_zoo, ["moon-zoo", "--into", str(folder)]).exit_code == 0
    monkeypatch.chdir(folder)
    monkeypatch.setenv(store_module.STORE_VARIABLE, str(tmp_path / "store"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    yield Project(folder=folder, installed=tmp_path / "installed")
    forget()


def test_the_whole_way_of_a_new_zoo(project: Project) -> None:
    old_wheel = project.install()
    assert "no revisions" in project.paste("mpt migrate check")
    project.save()
    project.paste(f"mpt zoo add {shlex.quote(old_wheel)}")

    # a field and a part take other names, and a release follows
    project.replace("pyproject.toml", ('version = "0.1.0"', 'version = "0.2.0"'))
    renames = ("hidden: int", "width: int"), ("architecture.hidden", "architecture.width"), ("self.body", "self.tower")
    raised = ("schema_version: ClassVar[int] = 1", "schema_version: ClassVar[int] = 2")
    project.replace("src/moon_zoo/mlp.py", raised, *renames)
    project.install()
    assert "moon-zoo 0.1.0" in project.paste("mpt load run.mpt")

    diagnosed = project.run("mpt diagnose run.mpt")
    assert diagnosed.exit_code == 1
    command = diagnosed.stdout.rpartition("next:")[2].strip()
    drafted = project.paste(command.replace("revision.py", "src/moon_zoo/migrations/r0001_tower.py"))
    *_, check, migrate = drafted.splitlines()

    # listed as it is, the draft is refused, and what is left of it is named
    listed = ("REVISIONS: tuple[Revision, ...] = ()", "REVISIONS: tuple[Revision, ...] = (r0001_tower.REVISION,)")
    imported = ("from policy_interface.migrations import Revision", "from moon_zoo.migrations import r0001_tower")
    project.replace("src/moon_zoo/migrations/__init__.py", (imported[0], f"{imported[0]}\n\n{imported[1]}"), listed)
    project.install()
    unfinished = project.run(check)
    assert unfinished.exit_code == 1
    assert "summary" in unfinished.stderr
    refused = project.run(migrate)
    assert refused.exit_code == 1
    assert project.run(refused.stderr.rpartition("Run: ")[2]).stderr == unfinished.stderr

    file = project.folder / "src/moon_zoo/migrations" / "r0001_tower.py"
    text = re.sub(
        r" {8}DropField\(.*?# choose: or (RenameField\(.*?\)), in place.*?\n {8}AddField\(.*?\n",
        r"        \1,\n",
        file.read_text(),
    )
    text = text.replace('summary=""', 'summary="hidden is width, and body is tower."')
    file.write_text(text.replace("reviewed=False", "reviewed=True"))
    project.install()
    assert "r_moon_zoo_mlp_0_2_0" in project.paste(check)
    assert "proof: held" in project.paste(migrate)
    assert "met bit for bit" in project.paste("mpt load new.mpt")
    assert "met bit for bit" in project.paste("mpt load run.mpt --code current")


def test_a_change_without_another_version_is_told_by_the_draft(project: Project) -> None:
    project.install()
    project.save()
    project.replace("src/moon_zoo/mlp.py", ("self.body", "self.tower"))
    project.install()
    drafted = project.paste("mpt migrate draft run.mpt -o revision.py")
    assert "raise its version" in drafted
    assert "raise its version" in (project.folder / "revision.py").read_text()
