"""Identifiers are distinct, readable and lead back to the original names; names are owned by prefix."""

from __future__ import annotations

import importlib
import itertools
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import app_loader.isolated
import pytest
from app_loader.errors import IsolationError, UnitNotFoundError
from app_loader.isolated import (
    Part,
    Unit,
    isolate_directory,
    make_identifier,
    original_name,
    owned_names,
    register_unit,
)
from app_loader.isolated._announced import announced_folders
from app_loader.isolated._directory import find_isolated_folder
from app_loader.store import Entry, Store
from policy_interface import origin_of

AddVersions = Callable[..., dict[str, Entry]]
MakeWheel = Callable[..., Path]

SPELLINGS = ["1.2.0", "1.2.0rc1", "1.2.0+g3f9c", "1.2.0.post1", "1!2.0"]


def test_versions_of_every_spelling_live_side_by_side(make_wheel: MakeWheel, store: Store) -> None:
    entries = [store.add([make_wheel("toy-zoo", text, {"toy_zoo.py": f"answer = {text!r}"})]) for text in SPELLINGS]
    assert len({entry.identifier for entry in entries}) == len(SPELLINGS)
    assert [entry.import_module("toy_zoo").answer for entry in entries] == SPELLINGS
    found = [store.find("toy.zoo", text) for text in SPELLINGS]
    assert [entry.version for entry in found if entry is not None] == SPELLINGS


def test_one_version_with_two_digests_gives_two_units(make_wheel: MakeWheel, store: Store) -> None:
    one, other = (store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": f"answer = {n}"})]) for n in (1, 2))
    assert (one.import_module("toy_zoo").answer, other.import_module("toy_zoo").answer) == (1, 2)
    with pytest.raises(IsolationError):
        store.find("toy-zoo", "1.0")
    assert store.find("toy-zoo", "1.0", one.digest[:12]) == one


def test_the_same_wheel_gives_the_same_entry_and_the_same_modules(make_wheel: MakeWheel, store: Store) -> None:
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "class A: pass"})
    assert store.add([wheel]).import_module("toy_zoo").A is store.add([wheel]).import_module("toy_zoo").A


@pytest.mark.parametrize(("distribution", "version"), list(itertools.product(["a", "Model-Zoo", "x.y_z"], SPELLINGS)))
def test_an_identifier_is_a_python_name(distribution: str, version: str) -> None:
    assert make_identifier(distribution, version, "0123456789abcdef").isidentifier()


@pytest.mark.parametrize("version", SPELLINGS)
def test_an_identifier_says_distribution_and_version_to_who_lacks_the_unit(version: str) -> None:
    with pytest.raises(UnitNotFoundError) as caught:
        importlib.import_module(f"app_loader.isolated.{make_identifier('Toy.Zoo', version, '3f9c2a1b77')}")
    found = caught.value
    assert (found.distribution, found.version, found.digest) == ("toy-zoo", version, "3f9c2a1b")


def test_an_identifier_taken_by_another_digest_is_refused(tmp_path: Path) -> None:
    part = Part(distribution="toy-zoo", version="1.0", owned=owned_names(["toy.py"]))
    unit = register_unit(Unit(parts=(part,), digest="12345678aa", folder=tmp_path))
    with pytest.raises(IsolationError):
        register_unit(Unit(parts=(part,), digest="12345678bb", folder=tmp_path))
    app_loader.isolated.unload(unit)


def test_names_that_no_unit_can_have_are_left_alone() -> None:
    assert original_name("torch.nn") == "torch.nn"
    with pytest.raises(ModuleNotFoundError):
        __import__("app_loader.isolated.nothing_of_the_kind")


@pytest.mark.parametrize(
    ("files", "whole", "partly"),
    [
        (["zoo/__init__.py", "zoo/a.py"], {"zoo"}, set()),
        (["single.py"], {"single"}, set()),
        (["ns/one/__init__.py", "ns/two.py"], {"ns.one", "ns.two"}, {"ns"}),
        (["a/__init__.py", "b/__init__.py"], {"a", "b"}, set()),
        (["zoo-1.0.dist-info/METADATA", "bin/run.py", "not-a-name/x.py"], set(), set()),
        (["fast.cpython-311-x86_64-linux-gnu.so"], {"fast"}, set()),
    ],
)
def test_owned_names_follow_from_the_list_of_files(files: list[str], whole: set[str], partly: set[str]) -> None:
    owned = owned_names(files)
    assert (set(owned.whole), set(owned.partly)) == (whole, partly)


def test_a_namespace_package_is_half_owned_and_half_shared(
    versions: AddVersions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_ns" / "shared").mkdir(parents=True)
    (tmp_path / "toy_ns" / "shared" / "__init__.py").write_text("answer = 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = """
import toy_ns.own
import toy_ns.shared
from toy_ns.shared import answer as zero
from toy_ns import own, shared
answer = (toy_ns.own.number, own.number, toy_ns.shared.answer, shared.answer, zero)
"""
    entries = versions({"toy_ns/own.py": "number = {n}", "toy_ns/asks.py": source}, name="toy-ns")
    assert [e.import_module("toy_ns.asks").answer for e in entries.values()] == [(n, n, 0, 0, 0) for n in (1, 2, 3)]
    for name in [name for name in sys.modules if name.startswith("toy_ns")]:
        monkeypatch.delitem(sys.modules, name)


def test_two_top_levels_and_a_single_file_belong_to_one_unit(versions: AddVersions) -> None:
    files = {
        "toy_zoo/__init__.py": "from toy_other import number\nimport toy_single\nanswer = number + toy_single.number",
        "toy_other/__init__.py": "number = {n}",
        "toy_single.py": "number = 10 * {n}",
    }
    assert [entry.import_module("toy_zoo").answer for entry in versions(files).values()] == [11, 22, 33]


def test_a_private_companion_belongs_to_the_unit(make_wheel: MakeWheel, store: Store) -> None:
    answers = []
    for number in (1, 2, 3):
        companion = make_wheel("toy-base", f"{number}.5", {"toy_base.py": f"class B:\n    n = {number}"})
        main = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "import toy_base\nclass A(toy_base.B): pass"})
        entry = store.add([main, companion])
        module = entry.import_module("toy_zoo")
        answers.append(module.A.n)
        assert str(origin_of(module.A)) == "toy_zoo.A [toy-zoo 1.0]"
        assert str(origin_of(entry.import_module("toy_base").B)) == f"toy_base.B [toy-base {number}.5]"
    assert answers == [1, 2, 3]


def test_folders_of_unpacked_packages_are_isolated_without_a_store(tmp_path: Path) -> None:
    found = []
    for number in (1, 2, 3):
        folder = tmp_path / str(number)
        (folder / "toy_zoo").mkdir(parents=True)
        (folder / "toy_zoo" / "__init__.py").write_text("from toy_zoo.consts import scale")
        (folder / "toy_zoo" / "consts.py").write_text(f"scale = {number}")
        unit = isolate_directory(folder, bytecode=tmp_path / "bytecode")
        found.append(unit.import_module("toy_zoo").scale)
        assert not list(folder.rglob("__pycache__"))
        app_loader.isolated.unload(unit)
    assert found == [1, 2, 3]


@pytest.mark.parametrize("taken_by", ["another user", "a link"])
def test_compiled_modules_of_a_folder_are_not_kept_where_another_may_have_put_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    """Everybody can make the folder of that name below the temporary one first, and fill it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "toy.py").write_text("answer = 1\n")
    monkeypatch.setenv("MPT_FOLDERS", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user = os.getuid() + (taken_by == "another user")
    taken = tmp_path / f"mpt-bytecode-{user}"
    if taken_by == "a link":
        (tmp_path / "own").mkdir(mode=0o700)
        taken.symlink_to(tmp_path / "own")
    else:
        taken.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: user)
    unit = isolate_directory(tmp_path / "folder")
    assert unit.bytecode is None
    app_loader.isolated.unload(unit)
    again = find_isolated_folder(announced_folders()[unit.identifier])
    assert again is not None
    assert again.bytecode is None
    app_loader.isolated.unload(again)


def test_ones_own_folder_that_others_may_write_to_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / f"mpt-bytecode-{os.getuid()}"
    kept.mkdir()
    kept.chmod(0o775)
    (kept / "planted").write_text("")
    unit = isolate_directory(tmp_path / "folder")
    assert unit.bytecode is not None
    assert unit.bytecode.parent == kept
    assert not list(kept.iterdir())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_compiled_modules_of_a_folder_are_kept_in_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unit = isolate_directory(tmp_path / "folder")
    assert unit.bytecode is not None
    assert stat.S_IMODE(unit.bytecode.parent.stat().st_mode) == 0o700
    app_loader.isolated.unload(unit)
