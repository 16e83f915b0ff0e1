"""A name and a version never suffice: the configured source and the digest decide what enters the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.cli.zoo import zoo
from app_loader.errors import IntegrityError, SourceRefusedError, VersionNotStoredError
from app_loader.settings import Index, Settings
from app_loader.sources import add_archive, add_requirement, add_wheels, find_wheels
from app_loader.sources.wheelhouse import wheel_sha256
from app_loader.store import Store
from click.testing import CliRunner, Result
from mpt_format import CodeRecord, MptError
from packaging.requirements import Requirement

MakeWheel = Callable[..., Path]


@pytest.fixture
def wheelhouse(tmp_path: Path, make_wheel: MakeWheel) -> Path:
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for number in ("1.0", "2.0"):
        shutil.copy(make_wheel("toy-zoo", number, {"toy_zoo.py": f"answer = {number}"}), folder)
    return folder


@pytest.fixture
def stranger(tmp_path: Path, make_wheel: MakeWheel) -> Path:
    """A folder, as an index, in which another project has the same name and version."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    files = {"toy_zoo.py": "raise SystemExit('a stranger')"}
    shutil.copy(make_wheel("toy-zoo", "1.0", files), folder)
    return folder


def test_a_requirement_comes_from_a_configured_wheelhouse(store: Store, wheelhouse: Path) -> None:
    entry = add_requirement(store, "toy-zoo<2", Settings(wheelhouses=(wheelhouse,)))
    assert (entry.version, entry.provenance["source"]) == ("1.0", "wheelhouse")


def test_a_name_that_no_source_is_configured_for_is_refused(store: Store, stranger: Path) -> None:
    indexes = (Index(url=str(stranger), packages=("something-else",)),)
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", Settings(fetch=True, indexes=indexes))
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", Settings(indexes=(Index(url="https://example.org", packages=("*",)),)))
    assert store.entries() == []


def test_a_strangers_wheel_of_the_same_name_and_version_is_refused_by_its_digest(
    store: Store, wheelhouse: Path, stranger: Path
) -> None:
    (trained,) = find_wheels([wheelhouse], Requirement("toy-zoo==1.0"))
    record = CodeRecord(distribution="toy-zoo", version="1.0", wheel_sha256=wheel_sha256(trained))
    (strange,) = stranger.glob("*.whl")
    with pytest.raises(IntegrityError):
        add_wheels(store, [strange], sha256=record.wheel_sha256)
    with pytest.raises(SourceRefusedError):
        add_archive(store, record, Settings(wheelhouses=(stranger,)))
    with pytest.raises(IntegrityError):
        add_archive(store, record, Settings(indexes=(Index(url=str(stranger), packages=("toy-zoo",)),)))
    assert store.entries() == []
    entry = add_archive(store, record, Settings(wheelhouses=(stranger, wheelhouse)))
    assert entry.digest == record.wheel_sha256


@pytest.mark.parametrize("as_url", [True, False])
def test_a_folder_with_a_simple_index_is_an_index(store: Store, wheelhouse: Path, tmp_path: Path, as_url: bool) -> None:
    wheel = next(wheelhouse.glob("toy_zoo-*.whl"))
    page = tmp_path / "simple" / "toy-zoo" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{wheel.as_uri()}#sha256={wheel_sha256(wheel)}">{wheel.name}</a>')
    simple = tmp_path / "simple"
    index = Index(url=simple.as_uri() if as_url else str(simple), packages=("toy-zoo",))
    version = wheel.name.split("-")[1]
    entry = add_requirement(store, f"toy-zoo=={version}", Settings(indexes=(index,)), resolve_companions=False)
    assert entry.wheels[0].sha256 == wheel_sha256(wheel)


def test_two_digests_of_one_version_are_not_chosen_between(store: Store, wheelhouse: Path, stranger: Path) -> None:
    settings = Settings(wheelhouses=(wheelhouse, stranger))
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", settings)
    (trained,) = find_wheels([wheelhouse], Requirement("toy-zoo==1.0"))
    assert add_requirement(store, "toy-zoo==1.0", settings, sha256=wheel_sha256(trained)[:12]).version == "1.0"


def test_companions_are_taken_where_the_installed_version_is_out_of_range(
    store: Store, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    wheels = [
        make_wheel(
            "toy-zoo",
            "1.0",
            {"toy_zoo.py": "import packaging\nanswer = packaging.answer"},
            requires=("packaging==1.5", "torch<1", "click>=1", "toy-extra; extra == 'all'"),
        ),
        make_wheel("packaging", "1.5", {"packaging/__init__.py": "answer = 'old'"}, requires=("toy-deep>=1",)),
        make_wheel("toy-deep", "1.1", {"toy_deep.py": ""}),
        make_wheel("torch", "0.9", {"torch/__init__.py": ""}),
        make_wheel("click", "1.0", {"click/__init__.py": ""}),
    ]
    for wheel in wheels:
        shutil.copy(wheel, folder)
    settings = Settings(wheelhouses=(folder,))
    entry = add_requirement(store, "toy-zoo", settings)
    assert [wheel.name for wheel in entry.wheels] == ["toy-zoo", "packaging", "toy-deep"]
    assert entry.import_module("toy_zoo").answer == "old"
    alone = add_requirement(store, "toy-zoo", settings, resolve_companions=False)
    assert [wheel.name for wheel in alone.wheels] == ["toy-zoo"]
    assert [each.name for each in alone.shared_libraries() if not each.met] == ["packaging", "torch"]


@pytest.fixture
def run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("MPT_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(zoo, [*arguments, "--store", str(store.path)])

    return invoke


def test_the_verbs_add_list_show_verify_and_remove(run: Callable[..., Result], wheelhouse: Path, store: Store) -> None:
    assert run("add", str(wheelhouse)).exit_code == 0
    listed = json.loads(run("list", "--json").output)
    assert [(each["distribution"], each["version"]) for each in listed] == [("toy-zoo", "1.0"), ("toy-zoo", "2.0")]
    shown = json.loads(run("show", "toy-zoo==1.0", "--json").output)
    assert (shown["digest"], shown["scan"]["native"]) == (listed[0]["digest"], [])
    assert "app_loader.isolated.toy_zoo__1_0" in run("show", "toy-zoo==1.0").output
    assert run("verify").exit_code == 0
    changed = store.entries()[0].path / "toy_zoo.py"
    changed.chmod(0o644)
    changed.write_text("answer = 3")
    assert run("verify", "toy-zoo==1.0").exit_code == 1
    assert len(json.loads(run("verify", "--json").output)) == 2
    assert run("remove", f"toy-zoo@{listed[0]['digest'][:12]}").exit_code == 0
    assert [entry.version for entry in store.entries()] == ["2.0"]
    assert "toy-zoo" in run("list").output


def test_what_a_wheel_says_does_not_steer_the_terminal_on_which_it_is_judged(
    run: Callable[..., Result], make_wheel: MakeWheel
) -> None:
    source = "import torch\n@torch.library.custom_op('\\x1b[2Jtoy::op\\u202e', mutates_args=())\ndef f(): ...\n"
    points = "[policy_interface.architectures]\n\x1b[31mkind = toy_zoo:A\n"
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": source}, entry_points=points)
    for words in (["add", str(wheel)], ["list"], ["show", "toy-zoo"]):
        output = run(*words).output
        assert {"\x1b", "\u202e"}.isdisjoint(output)
    assert "toy::op" in output


def test_several_wheels_are_added_as_an_entry_each(run: Callable[..., Result], wheelhouse: Path, store: Store) -> None:
    wheels = sorted(str(wheel) for wheel in wheelhouse.glob("*.whl"))
    assert run("add", *wheels, "--sha256", "0123").exit_code == 2
    assert not store.entries()
    added = json.loads(run("add", *wheels, "--json").output)
    assert [each["version"] for each in added] == ["1.0", "2.0"]
    assert [entry.version for entry in store.entries()] == ["1.0", "2.0"]


def test_the_verbs_refuse_with_an_error_of_their_own(
    run: Callable[..., Result], wheelhouse: Path, tmp_path: Path
) -> None:
    wheel = str(next(wheelhouse.glob("*1.0*")))
    assert isinstance(run("show", "toy-zoo==9").exception, VersionNotStoredError)
    assert isinstance(run("add", "toy-zoo==1.0").exception, SourceRefusedError)
    assert isinstance(run("add", "not a requirement").exception, SourceRefusedError)
    assert isinstance(run("add", wheel, "--sha256", "0123").exception, IntegrityError)
    assert isinstance(run("add", str(tmp_path / "absent.mpt")).exception, MptError)
    assert run("add", wheel, "--with", "einops==1").exit_code == 2
    assert run("add", str(tmp_path)).exit_code == 2


def test_settings_of_the_folder_hold_for_the_verb(run: Callable[..., Result], tmp_path: Path, wheelhouse: Path) -> None:
    (tmp_path / "mpt.toml").write_text("wheelhouses = ['wheelhouse']\n")
    answer = run("add", "toy-zoo==2.0", "--json")
    assert json.loads(answer.output)[0]["provenance"]["source"] == "wheelhouse"
