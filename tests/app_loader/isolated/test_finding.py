"""What RECORD lists is found without asking the disk; everything else is found as CPython finds it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from app_loader.errors import IntegrityError
from app_loader.isolated import unload
from app_loader.store import Entry

AddVersions = Callable[..., dict[str, Entry]]

ZOO = {
    "toy_zoo/__init__.py": "",
    "toy_zoo/deep/__init__.py": "",
    "toy_zoo/deep/layers.py": "answer = {n}",
    "toy_zoo/deep.py": "a package goes before a module of its name",
    "toy_zoo/parts/layers.py": "answer = {n}",
}


def test_a_listed_module_is_what_the_path_finder_would_have_found(versions: AddVersions) -> None:
    entry = versions(ZOO)["2"]
    for name in ("toy_zoo", "toy_zoo.deep", "toy_zoo.deep.layers", "toy_zoo.parts", "toy_zoo.parts.layers"):
        module = entry.import_module(name)
        parent = entry.path.joinpath(*name.split(".")[:-1])
        found = PathFinder.find_spec(module.__name__, [str(parent)])
        assert found is not None and module.__spec__ is not None
        assert module.__spec__.origin == found.origin
        assert module.__spec__.has_location == found.has_location
        assert list(module.__spec__.submodule_search_locations or ()) == list(found.submodule_search_locations or ())
        assert module.__package__ == found.parent


def test_a_package_that_extends_its_path_finds_what_lies_there(versions: AddVersions, tmp_path: Path) -> None:
    entry = versions(
        {
            "toy_zoo/__init__.py": f"__path__.insert(0, {str(tmp_path)!r})",
            "toy_zoo/layers.py": "answer = {n}",
            "toy_zoo/late.py": "answer = {n}",
        }
    )["1"]
    (tmp_path / "layers.py").write_text("answer = 'first on the path'")
    assert entry.import_module("toy_zoo.layers").answer == "first on the path"
    assert entry.import_module("toy_zoo.late").answer == 1


def test_a_listed_file_that_is_gone_is_named_with_bytecode_and_without(versions: AddVersions) -> None:
    entry = versions({"toy_zoo.py": "answer = {n}"})["1"]
    entry.import_module("toy_zoo")
    unload(entry.unit)
    entry.path.chmod(0o755)
    (entry.path / "toy_zoo.py").unlink()
    with pytest.raises(IntegrityError) as caught:
        entry.import_module("toy_zoo")
    assert caught.value.problems[0].startswith("toy_zoo.py is missing")


def test_a_module_that_names_a_stand_in_gets_it_from_bytecode_too(versions: AddVersions) -> None:
    own = "import sys\ndef answer():\n    return sys.modules['toy_zoo.consts'].scale"
    entries = versions({"toy_zoo/__init__.py": "", "toy_zoo/consts.py": "scale = {n}", "toy_zoo/layers.py": own})
    for _ in range(2):
        for number, entry in entries.items():
            entry.import_module("toy_zoo.consts")
            assert entry.import_module("toy_zoo.layers").answer() == int(number)
            unload(entry.unit)
