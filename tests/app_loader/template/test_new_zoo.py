"""The template end to end: written, linted, tested, built, stored, and loaded like any other zoo."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from app_loader import Store, load_policy, save_policy
from app_loader.cli.new_zoo import new_zoo
from app_loader.settings import Index, Settings
from app_loader.template import NoIndexError, find_index, parse_index, parse_zoo_name, write_zoo
from app_loader.template.names import ZooNameError
from app_loader.template.write import FolderTakenError
from click.testing import CliRunner
from mpt_format.cli import mpt
from policy_interface import DiscreteActions, Feature, GameRules, Policy, origin_of

RULES = GameRules(
    features=(Feature(name="position", id=0, scale=2.4), Feature(name="velocity", id=1, shape=(2,))),
    actions=DiscreteActions.of("left", "right"),
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "space-zoo"
    result = CliRunner().invoke(new_zoo, ["space-zoo", "--into", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def wheel(zoo: Path) -> Path:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None
    subprocess.run([uv, "build", "--quiet", "--wheel", str(zoo), "--out-dir", str(zoo / "dist")], check=True)
    (found,) = (zoo / "dist").glob("*.whl")
    return found


def run(zoo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(zoo / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=zoo, env=environment, capture_output=True, text=True, check=False
    )


def test_new_zoo_passes_its_own_tests(zoo: Path) -> None:
    done = run(zoo, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_new_zoo_keeps_its_import_contracts_and_they_bite(zoo: Path, tmp_path: Path) -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert run(zoo, "-c", program, "--no-cache").returncode == 0
    broken = tmp_path / "broken"
    shutil.copytree(zoo, broken)
    (broken / "src/space_zoo/late.py").write_text("import app_loader\n")
    assert run(broken, "-c", program, "--no-cache").returncode == 1


def test_new_zoo_is_clean_code(zoo: Path) -> None:
    for arguments in (["check", "--select", "E,F,I,B"], ["format", "--check"]):
        done = run(zoo, "-m", "ruff", *arguments, "--no-cache", "--isolated", "--line-length", "120", "src", "tests")
        assert done.returncode == 0, done.stdout


def test_its_wheel_loads_from_a_store_like_any_other(wheel: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    entry = store.add([wheel])
    architecture = entry.import_module("space_zoo.mlp").MlpArchitecture(hidden=16)
    torch.manual_seed(0)
    policy = architecture.make_policy(RULES)
    save_policy(policy, tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    assert isinstance(loaded, Policy)
    assert (loaded.origin.distribution, loaded.origin.version) == ("space-zoo", "0.1.0")
    assert loaded.architecture.kind == "space_zoo_mlp"
    assert origin_of(loaded.module).module == "space_zoo.mlp"
    observation = torch.randn(4, 3)
    for name in ("action", "logits", "value"):
        expected, found = (getattr(p.act(observation, {}), name) for p in (policy, loaded))
        assert torch.equal(expected, found)


def test_the_program_of_its_readme_makes_a_checkpoint_that_its_wheel_loads(
    zoo: Path, wheel: Path, tmp_path: Path
) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", (zoo / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    with zipfile.ZipFile(wheel) as archive:  # what installing a pure wheel does
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    store = Store(tmp_path / "store")
    store.add([wheel])
    assert load_policy(tmp_path / "run.mpt", store=store).origin.distribution == "space-zoo"


def test_nothing_is_written_over(zoo: Path) -> None:
    before = sorted(zoo.rglob("*"))
    with pytest.raises(FolderTakenError) as caught:
        write_zoo(parse_zoo_name("other-zoo"), zoo)
    assert caught.value.path == str(zoo)
    assert sorted(zoo.rglob("*")) == before
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", ["My-Zoo", "my_zoo", "1zoo", "zoo-", "-zoo", "a--b", "torch", "json", "class", ""])
def test_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ZooNameError) as caught:
        parse_zoo_name(name)
    assert caught.value.name == name
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_names_of_a_zoo_follow_from_one() -> None:
    names = parse_zoo_name("space-zoo-2")
    assert (names.distribution, names.package, names.kind) == ("space-zoo-2", "space_zoo_2", "space_zoo_2_mlp")


def test_a_new_zoo_gets_the_contract_from_the_index_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "wheels" / "simple" / "policy-interface").mkdir(parents=True)
    (tmp_path / "wheels" / "policy_interface-1.0.0-py3-none-any.whl").touch()
    wanted = {
        str(tmp_path / "wheels"): {"url": str(tmp_path / "wheels"), "format": "flat"},
        str(tmp_path / "wheels" / "simple"): {"url": (tmp_path / "wheels" / "simple").as_uri()},
        "https://packages.example.org/simple/": {"url": "https://packages.example.org/simple/"},
    }
    for number, (index, described) in enumerate(wanted.items()):
        folder = tmp_path / str(number)
        write_zoo(parse_zoo_name("my-zoo"), folder, parse_index(index))
        table = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["uv"]
        assert table["index"] == [{"name": "releases", **described, "explicit": True}]
        ours = ("policy-interface", "app-loader", "mpt-format")
        assert table["sources"] == {name: {"index": "releases"} for name in ours}
    found = find_index(Settings(wheelhouses=(tmp_path / "wheels",)))
    assert found == parse_index(str(tmp_path / "wheels"))
    assert find_index(Settings()) is None


@pytest.mark.parametrize("text", ["wheels", "./whelhouse", "file:///nowhere/simple", "packages.example.org/simple/"])
def test_an_index_that_cannot_have_the_contract_is_refused_before_anything_is_written(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoIndexError) as caught:
        parse_index(text)
    assert caught.value.text == text
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert CliRunner().invoke(mpt, ["new-zoo", "my-zoo", "--index", text]).exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_an_index_of_the_settings_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    gone = Index(url=str(tmp_path / "gone"), packages=("*",))
    there = Index(url="https://packages.example.org/simple/", packages=("*",))
    assert find_index(Settings(indexes=(gone, there))) == parse_index(there.url)
    assert find_index(Settings(indexes=(gone,))) is None


def test_where_no_index_is_known_the_next_command_uses_the_environment_that_has_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = CliRunner().invoke(mpt, ["new-zoo", "my-zoo", "--into", "a folder"])
    assert written.exit_code == 0
    steps = written.stdout.rpartition("next: ")[2].split(" && ")
    commands = [shlex.split(step) for step in steps]
    assert commands[0] == ["cd", "a folder"]
    assert (tmp_path / "a folder" / "pyproject.toml").is_file()
    assert not any(command[:2] == ["uv", "sync"] for command in commands)
    assert commands[1][:5] == ["uv", "pip", "install", "--python", sys.executable]
    assert commands[2] == [sys.executable, "-m", "pytest"]


def test_where_an_index_is_known_the_next_command_syncs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "policy_interface-1.0.0-py3-none-any.whl").touch()
    monkeypatch.chdir(tmp_path)
    written = CliRunner().invoke(mpt, ["new-zoo", "my-zoo", "--index", "wheels"])
    assert written.stdout.rpartition("next: ")[2].startswith("cd my-zoo && uv sync && ")
