"""A run from a dirty tree loads from nothing but the archive and the repository, through the command line."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from app_loader import load_policy, save_policy
from app_loader.cli.zoo import zoo
from app_loader.errors import IntegrityError, SourceRefusedError
from app_loader.store import Store
from click.testing import CliRunner, Result
from mpt_format import CorruptArchiveError
from policy_interface import DiscreteActions, Feature, GameRules

from tests.app_loader.loading.conftest import tiny_source
from tests.app_loader.provenance.conftest import BACKEND

Git = Callable[..., str]

RULES = GameRules(features=(Feature(name="position", id=0, shape=(2,)),), actions=DiscreteActions.of("left", "right"))
SCALED = tiny_source(scale="SCALE").replace("import torch\n", "import torch\nfrom tiny_zoo.scale import SCALE\n", 1)
DATA = bytes(range(256)) * 3 + b"\r\n"


@pytest.fixture
def project(tmp_path: Path, git: Git) -> Path:
    """The project ``tiny-zoo`` in ``packages/zoo``, committed, and installed as an editable one would be."""
    folder = tmp_path / "repository" / "packages" / "zoo"
    (folder / "tiny_zoo").mkdir(parents=True)
    (folder / "tiny_zoo" / "__init__.py").write_text(tiny_source())
    (folder / "tiny_zoo" / "table.bin").write_bytes(bytes(300))
    (folder / "tiny_zoo" / "old.py").write_text("gone = True\n")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "tiny-zoo"\nversion = "0.1.0"\n\n'
        '[project.entry-points."policy_interface.architectures"]\ntiny = "tiny_zoo:TinyArchitecture"\n\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tmp_path / "repository" / ".gitignore").write_text("__pycache__/\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    info = tmp_path / "site" / "tiny_zoo-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-zoo\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[policy_interface.architectures]\ntiny = tiny_zoo:TinyArchitecture\n")
    (info / "RECORD").write_text("")
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    return folder


def edit(project: Path) -> None:
    """A tracked change, a new module that git does not know, binary data, a removed and a renamed file."""
    package = project / "tiny_zoo"
    (package / "__init__.py").write_text(SCALED)
    (package / "scale.py").write_text(
        "from pathlib import Path\n\nSCALE = len((Path(__file__).parent / 'table.bin').read_bytes()) / 1000\n"
    )
    (package / "table.bin").write_bytes(DATA)
    (package / "old.py").rename(package / "sub module.py")


def train(tmp_path: Path, project: Path) -> Path:
    """Save while the working tree is what is imported."""
    archive = tmp_path / "run.mpt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(project)
        patch.syspath_prepend(tmp_path / "site")
        try:
            architecture = importlib.import_module("tiny_zoo").TinyArchitecture()
            torch.manual_seed(0)
            save_policy(architecture.make_policy(RULES), archive)
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "tiny_zoo"]:
                del sys.modules[name]
    return archive


def add(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(zoo, ["add", *arguments, "--store", str(store.path)])


def put_back(git: Git) -> None:
    git("checkout", "--quiet", "--force", ".")
    git("clean", "--quiet", "--force", "-d")


def test_a_dirty_run_loads_from_the_archive_and_the_repository(
    tmp_path: Path, project: Path, git: Git, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(project)
    archive = train(tmp_path, project)
    put_back(git)
    git("commit", "--quiet", "--allow-empty", "-m", "years later")
    bare = tmp_path / "moved.git"
    git("clone", "--quiet", "--bare", ".", str(bare))
    named = str(tmp_path / "repository")
    shutil.rmtree(tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    assert isinstance(add(store, str(archive), "--from-source").exception, SourceRefusedError)
    (tmp_path / "mpt.toml").write_text(f"[moved]\n{json.dumps(named)} = 'moved.git'\n")
    added = add(store, str(archive), "--from-source")
    assert added.exit_code == 0, added.output
    assert "the archive's own difference" in added.output
    loaded = load_policy(archive, store=store, verify="witness")
    assert loaded.origin.mode == "isolated"
    (entry,) = store.entries()
    assert (entry.path / "tiny_zoo" / "table.bin").read_bytes() == DATA
    assert (entry.path / "tiny_zoo" / "sub module.py").is_file()
    assert not (entry.path / "tiny_zoo" / "old.py").exists()


def test_a_difference_that_was_changed_in_the_archive_is_neither_applied_nor_built(
    tmp_path: Path, project: Path, git: Git, store: Store
) -> None:
    edit(project)
    archive = train(tmp_path, project)
    put_back(git)
    with zipfile.ZipFile(archive) as opened:
        difference = opened.read("source.diff")
    changed = difference.replace(b"+from tiny_zoo.scale import SCALE", b"+from tiny_zoo.other import SCALE")
    before, now = (zlib.crc32(each).to_bytes(4, "little") for each in (difference, changed))
    archive.write_bytes(archive.read_bytes().replace(difference, changed).replace(before, now))  # as its zip demands
    added = add(store, str(archive), "--from-source", "--repository", str(tmp_path / "repository"))
    assert isinstance(added.exception, CorruptArchiveError)
    assert (added.output, store.entries()) == ("", [])


def test_a_difference_that_changes_how_the_code_is_built_is_told(
    tmp_path: Path, project: Path, git: Git, store: Store
) -> None:
    edit(project)
    repository = ("--from-source", "--repository", str(tmp_path / "repository"))
    archive = train(tmp_path, project)
    put_back(git)
    assert "packages/zoo/pyproject.toml" not in add(store, str(archive), *repository).output
    edit(project)
    with (project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    archive = train(tmp_path, project)
    put_back(git)
    assert "packages/zoo/pyproject.toml" in add(store, str(archive), *repository).output


def test_a_wheel_that_leaves_out_files_of_the_pinned_source_is_the_trained_code(
    tmp_path: Path, project: Path, git: Git, store: Store
) -> None:
    backend = (project / "backend.py").read_text()
    (project / "backend.py").write_text(backend.replace("if p.is_file()", "if p.is_file() and p.suffix != '.bin'"))
    git("commit", "--quiet", "-am", "data is no part of the wheel")
    archive = train(tmp_path, project)
    added = add(store, str(archive), "--from-source", "--repository", str(tmp_path / "repository"))
    assert added.exit_code == 0, added.output
    assert load_policy(archive, store=store).origin.mode == "isolated"


def test_a_build_that_changes_the_source_is_not_the_trained_code(
    tmp_path: Path, project: Path, git: Git, store: Store
) -> None:
    backend = (project / "backend.py").read_text()
    (project / "backend.py").write_text(backend.replace("p.read_bytes()", "p.read_bytes() + b'\\n# built'"))
    git("commit", "--quiet", "-am", "a build that writes")
    archive = train(tmp_path, project)
    repository = ("--from-source", "--repository", str(tmp_path / "repository"))
    refused = add(store, str(archive), *repository).exception
    assert isinstance(refused, IntegrityError)
    digest = refused.next_command.split("--accept-digest ")[1].split()[0]
    assert add(store, str(archive), *repository, "--accept-digest", digest).exit_code == 0
    (entry,) = store.entries()
    acceptance = store.find_acceptance(entry, entry.provenance["pinned"])
    assert acceptance is not None
    assert not acceptance.exact
    assert "explicitly" in load_policy(archive, store=store).origin.reason  # after its witness was replayed
    store.remove(entry)
    assert store.find_acceptance(entry, entry.provenance["pinned"]) is None


def test_the_source_is_found_by_url_and_at_a_commit_that_no_branch_holds(
    tmp_path: Path, project: Path, git: Git, store: Store
) -> None:
    edit(project)
    git("add", ".")
    git("commit", "--quiet", "-m", "to be forced away")
    archive = train(tmp_path, project)
    git("reset", "--quiet", "--hard", "HEAD~1")
    added = add(store, str(archive), "--from-source", "--repository", (tmp_path / "repository").as_uri())
    assert added.exit_code == 0, added.output
    assert load_policy(archive, store=store, verify="witness").origin.version == "0.1.0"
