"""What an archive says of its code is a stranger's text: it names no folder, no module to import, no shell command."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.code import StoredCode, find_installed
from app_loader.errors import IsolationError, SourceRefusedError
from app_loader.migration.draft.source_renames import read_sources
from app_loader.provenance.project import find_package
from app_loader.resolve import resolve
from app_loader.settings import Settings
from app_loader.sources import add_requirement
from app_loader.store import Store
from app_loader.uv_command import uv_command
from mpt_format import CodeRecord

MakeWheel = Callable[..., Path]
SHELL = "1.0; touch ran #"


@pytest.mark.parametrize("requested", ["trained", "current", "9.9"])
@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_version_that_is_a_command_is_one_quoted_word_of_the_command_to_run_next(
    store: Store, requested: str, digest: str | None
) -> None:
    record = CodeRecord(distribution="$(touch ran)", version=SHELL, wheel_sha256=digest)
    command = resolve(record, requested, store).next_command
    assert {";", "touch", "$(touch"}.isdisjoint(shlex.split(command))


def test_the_package_of_an_archive_names_no_folder_outside_of_the_code(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "__init__.py").write_text("secret = 1\n")
    code = StoredCode(store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo/__init__.py": ""})]))
    (tmp_path / "project").mkdir()
    for name in (str(tmp_path / "elsewhere"), "../elsewhere", "..", "*", "toy_zoo/../../elsewhere", ""):
        assert find_package(tmp_path / "project", name) is None
        assert read_sources(code, name) == {}
        assert code.package_sha256(name) is None
    assert read_sources(code, "toy_zoo") == {"__init__.py": ""}


def test_the_package_of_an_archive_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bystander.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = find_installed("model-zoo")
    assert code is not None
    for name in ("bystander.inner", "bystander", "json"):
        assert read_sources(code, name) == {}
    assert "bystander" not in sys.modules
    assert "__init__.py" in read_sources(code, "model_zoo")


def test_one_version_in_two_spellings_is_not_chosen_between(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for version in ("1.0", "1.0.0"):
        wheel = make_wheel("toy-zoo", version, {"toy_zoo.py": f"answer = {version!r}"})
        shutil.copy(wheel, folder)
        store.add([wheel])
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", Settings(wheelhouses=(folder,)))
    with pytest.raises(IsolationError):
        store.find("toy-zoo", "1.0")
    with pytest.raises(IsolationError):
        store.find("toy-zoo")


def test_names_that_an_index_takes_for_one_are_one_distribution_with_one_newest_version(
    make_wheel: MakeWheel, store: Store
) -> None:
    for name, version in (("toy-zoo", "2.0"), ("toy_zoo", "1.0"), ("Toy.Zoo", "1.5")):
        store.add([make_wheel(name, version, {"toy_zoo.py": f"answer = {version!r}"})])
    newest = store.find("toy-zoo")
    assert newest is not None
    assert newest.version == "2.0"


def test_a_file_called_uv_in_the_folder_of_work_is_not_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert uv_command() == [sys.executable, "-P", "-m", "uv"]
