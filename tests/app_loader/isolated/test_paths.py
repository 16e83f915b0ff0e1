"""`sys.path` and `sys.meta_path` of old code: what it puts there is its own version's, and nobody else's."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch
from app_loader.isolated import Effects, isolate_directory, unload
from app_loader.isolated._announced import announced_searches
from app_loader.store import Entry, Store

AddVersions = Callable[..., dict[str, Entry]]

HERE = "import os, sys\nhere = os.path.dirname(__file__)\n"
PUTS = {
    "inserting": "sys.path.insert(0, here)",
    "appending": "sys.path.append(here)",
    "extending": "sys.path.extend([here])",
    "adding in place": "sys.path += [here]",
    "assigning": "sys.path = [here] + sys.path",
    "assigning to a slice": "sys.path[:0] = [here]",
    "by another name": "from sys import path\npath.append(os.path.join(here, 'inner', '..'))",
    "in a function": "def put():\n    import sys as system\n    system.path.append(here)\nput()",
}
HELPERS = {
    "toy_zoo/toy_helper.py": "from toy_deep.inner import number\nclass Thing:\n    answer = {n}",
    "toy_zoo/toy_deep/__init__.py": "",
    "toy_zoo/toy_deep/inner.py": "number = {n}",
    "toy_zoo/toy_spaces/part.py": "number = {n}",
}
USES = """
import toy_helper, toy_deep.inner
from toy_spaces.part import number
def answers():
    import importlib, toy_helper as again
    late = importlib.import_module("toy_deep.inner")
    return [toy_helper.Thing.answer, toy_deep.inner.number, number, again.number, late.number]
"""


@pytest.mark.parametrize("put", PUTS)
def test_a_folder_of_its_own_on_the_path_brings_each_version_its_own_modules(versions: AddVersions, put: str) -> None:
    before = [*sys.path]
    entries = versions({"toy_zoo/__init__.py": f"{HERE}{PUTS[put]}\n{USES}", **HELPERS})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.answers() for module in modules] == [[n] * 5 for n in (1, 2, 3)]
    assert sys.path == before
    assert not {"toy_helper", "toy_deep", "toy_spaces"} & sys.modules.keys()


def test_a_plain_import_of_the_package_keeps_its_own(versions: AddVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = versions({"toy_zoo/__init__.py": f"{HERE}sys.path.insert(0, here)\n{USES}", **HELPERS})
    monkeypatch.syspath_prepend(entries["3"].path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    plain = importlib.import_module("toy_zoo")
    try:
        modules = [plain, *(entry.import_module("toy_zoo") for entry in entries.values()), plain]
        assert [module.answers() for module in modules] == [[n] * 5 for n in (3, 1, 2, 3, 3)]
        assert len({id(module.toy_helper) for module in modules}) == 4
    finally:
        for name in [each for each in sys.modules if each.startswith("toy_")]:
            del sys.modules[name]


def test_names_that_python_would_have_taken_from_elsewhere_are_everybodys(versions: AddVersions) -> None:
    source = f"{HERE}sys.path.insert(0, here)\nsys.path.append(here + '/last')\nimport json, torch, hypothesis\n"
    broken = dict.fromkeys(("toy_zoo/json.py", "toy_zoo/torch.py", "toy_zoo/last/hypothesis.py"), "1 / 0")
    for entry in versions({"toy_zoo/__init__.py": source, **broken}).values():
        assert entry.import_module("toy_zoo").torch is torch


def test_a_folder_elsewhere_is_put_on_the_path_of_the_process(
    versions: AddVersions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*sys.path]
    monkeypatch.setattr(sys, "path", [*before])
    source = "import sys\ndef put(place): sys.path.insert(0, place)\ndef take(place): sys.path.remove(place)"
    module = versions({"toy_zoo.py": source})["1"].import_module("toy_zoo")
    module.put(str(tmp_path))
    assert sys.path == [str(tmp_path), *before]
    module.take(str(tmp_path))
    assert sys.path == before


def test_what_is_appended_for_a_while_is_what_is_taken_again(versions: AddVersions) -> None:
    before = [*sys.path]
    source = f"{HERE}sys.path.append(here)\nimport toy_helper\ntaken = sys.path.pop()\nleft = here in sys.path"
    module = versions({"toy_zoo/__init__.py": source, **HELPERS})["2"].import_module("toy_zoo")
    assert (module.taken, module.left, module.toy_helper.number) == (module.here, False, 2)
    assert sys.path == before


def test_the_path_of_old_code_shows_its_own_folder_and_follows_the_process(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{HERE}sys.path.insert(0, here)\nsys.path.append(here + '/inner')\ndef shown(): return sys.path"
    entry = versions({"toy_zoo/__init__.py": source})["1"]
    shown = entry.import_module("toy_zoo").shown()
    here = str(entry.path)
    first, *rest = sys.path
    assert shown == [f"{here}/toy_zoo", first, here, *rest, f"{here}/toy_zoo/inner"]
    assert shown != sys.path
    monkeypatch.setattr(sys, "path", ["/a", "/b"])
    assert [*shown] == [f"{here}/toy_zoo", "/a", "/b", here, f"{here}/toy_zoo/inner"]
    assert [["/z"] + shown, shown + ["/z"]] == [["/z", *shown], [*shown, "/z"]]  # noqa: RUF005  # a list can be added
    assert type(shown.copy()) is list


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_lies_in_such_a_folder_travels_to_other_processes(versions: AddVersions, method: str) -> None:
    entries = versions({"toy_zoo/__init__.py": f"{HERE}sys.path.insert(0, here)\n{USES}", **HELPERS})
    kinds = [entry.import_module("toy_zoo").toy_helper.Thing for entry in entries.values()]
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert [pool.submit(getattr, kind, "answer").result() for kind in kinds] == [1, 2, 3]


def test_clearing_the_path_ends_and_what_was_saved_comes_back(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*sys.path]
    monkeypatch.setattr(sys, "path", [*before])
    source = "import sys\nsaved = sys.path[:]\nsys.path.clear()\nleft = len(sys.path)\nsys.path.extend(saved)"
    source += "\nsame = sys.path == saved"
    module = versions({"toy_zoo.py": source})["1"].import_module("toy_zoo")
    assert (module.left, module.same) == (0, True)
    assert sys.path == before


VIEWED = """
import sys
def shown(): return sys.path
def multiplied():
    sys.path *= 1
    return sys.path
"""


def test_the_path_of_old_code_is_a_list_for_whoever_asks(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = versions({"toy_zoo.py": VIEWED})["1"].import_module("toy_zoo").shown()
    monkeypatch.setattr(sys, "path", ["/a", "/b"])
    plain = shown.copy()
    assert isinstance(shown, list)
    assert (plain[0], plain[2:]) == ("/a", ["/b"])
    monkeypatch.setattr(sys, "path", ["/a", "/c"])
    assert json.loads(json.dumps(shown)) == ["/a", "/c", plain[1]]  # which is written by compiled code
    assert [*reversed(shown)] == [*shown][::-1]
    assert (shown.index("/c"), shown.count("/c"), "/c" in shown, "/b" in shown) == (1, 1, True, False)
    assert [type(each) for each in (copy.copy(shown), pickle.loads(pickle.dumps(shown)))] == [list, list]


def test_the_path_of_old_code_is_changed_as_a_list_is(versions: AddVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    module = versions({"toy_zoo.py": VIEWED})["1"].import_module("toy_zoo")
    monkeypatch.setattr(sys, "path", ["/b", "/a"])
    shown = module.shown()
    shown.sort(key=lambda entry: entry in ("/a", "/b"))
    assert sys.path == ["/b", "/a"]
    shown.reverse()
    assert (sys.path, shown[:2], shown == module.multiplied()) == (["/a", "/b"], ["/a", "/b"], True)
    assert (shown.pop(0), sys.path) == ("/a", ["/b"])
    shown.remove("/b")
    shown += ["/c"]
    shown.extend(shown[1:])
    assert sys.path == ["/c", "/c"]
    with pytest.raises(ValueError, match="not in list"):
        shown.remove("/b")


def test_a_folder_of_data_gives_way_to_an_installed_module(
    versions: AddVersions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_installed.py").write_text("answer = 7")
    monkeypatch.syspath_prepend(tmp_path)
    source = f"{HERE}sys.path.insert(0, here)\nimport toy_installed, toy_spaces.part"
    files = {"toy_zoo/__init__.py": source, "toy_zoo/toy_installed/settings.txt": "", **HELPERS}
    try:
        modules = [entry.import_module("toy_zoo") for entry in versions(files).values()]
        assert [module.toy_installed.answer for module in modules] == [7, 7, 7]
        assert [module.toy_spaces.part.number for module in modules] == [1, 2, 3]
    finally:
        sys.modules.pop("toy_installed", None)


def test_an_archive_of_its_own_is_put_on_the_path_of_the_process(
    make_wheel: Callable[..., Path], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        archive.writestr("toy_zipped.py", "answer = 7")
    source = f"{HERE}sys.path.insert(0, here + '/toy.zip')\nfrom toy_zipped import answer"
    files = {"toy_zoo/__init__.py": source, "toy_zoo/toy.zip": (tmp_path / "toy.zip").read_bytes()}
    entry = store.add([make_wheel("toy-zoo", "1.0", files)])
    try:
        assert entry.import_module("toy_zoo").answer == 7
        assert sys.path[0] == f"{entry.path}/toy_zoo/toy.zip"
    finally:
        sys.modules.pop("toy_zipped", None)


LATE = """
import importlib, os, sys, tempfile
here = tempfile.mkdtemp(dir=os.path.dirname(__file__))
os.makedirs(here + "/there")
sys.path[:0] = [here + "/there", here + "/later"]
def written(place, name):
    os.makedirs(f"{here}/{place}", exist_ok=True)
    with open(f"{here}/{place}/{name}.py", "w") as file:
        file.write("answer = {n}")
    importlib.invalidate_caches()
    return name
written("there", "toy_written")
import toy_written
late = importlib.import_module(written("later", "toy_later"))
answers = [toy_written.answer, late.answer]
"""


def test_a_module_written_into_such_a_folder_later_is_the_version_s_own(tmp_path: Path, store: Store) -> None:
    answers = []
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "toy_zoo.py").write_text(LATE.replace("{n}", number))
        answers.append(isolate_directory(tmp_path / number).import_module("toy_zoo").answers)
    assert answers == [[1, 1], [2, 2]]
    assert not {"toy_written", "toy_later"} & sys.modules.keys()


def test_what_children_are_told_does_not_grow_with_what_lies_in_a_folder(versions: AddVersions) -> None:
    many = {f"toy_zoo/toy_part_{number}.py": "" for number in range(200)}
    source = f"{HERE}sys.path.insert(0, here)\nimport toy_part_7"
    entry = versions({"toy_zoo/__init__.py": source, "toy_zoo/torch.py": "1 / 0", **many})["1"]
    entry.import_module("toy_zoo")
    place = f"{os.path.realpath(entry.path)}/toy_zoo"
    assert announced_searches() == {entry.identifier: {place: ["torch"]}}


def test_the_disk_is_asked_about_an_entry_of_the_path_once(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = versions({"toy_zoo.py": VIEWED})["1"].import_module("toy_zoo").shown()
    monkeypatch.setattr(sys, "path", [f"/toy/{number}" for number in range(50)])
    asked = []
    follow = os.path.realpath

    def realpath(place: str) -> str:
        asked.append(place)
        return follow(place)

    monkeypatch.setattr(os.path, "realpath", realpath)
    assert [[*shown], "/z" in shown, [*reversed(shown)][::-1]] == [shown, False, shown]
    assert len(asked) <= 52


FINDING = """
import importlib.metadata, importlib.util, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "toy_made_{n}" else None
    def find_distributions(self, context):
        raise AssertionError("asked for distributions by others")
    def create_module(self, spec): return None
    def exec_module(self, module): module.answer = {n}
    def invalidate_caches(self): self.told = True
finder = Finder()
sys.meta_path.insert(0, finder)
def seen(): return [each for each in sys.meta_path if type(each).__name__ == "Finder"]
def answering():
    standard = [each for each in sys.meta_path if getattr(each, "__module__", "") == "_frozen_importlib_external"]
    return [each for each in standard if hasattr(each, "find_distributions")]
def spoil():
    for each in answering():
        del each.find_distributions
    return answering()
"""


def _made(number: int) -> ModuleType:
    name = f"toy_made_{number}"
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("effects", ["report", "restore"])
def test_what_child_processes_are_told_is_no_effect_and_stays(versions: AddVersions, effects: Effects) -> None:
    entry = versions({"toy_zoo/__init__.py": f"{HERE}sys.path.insert(0, here)\n{USES}", **HELPERS})["1"]
    entry.import_module("toy_zoo", effects=effects)
    assert entry.effects == ()
    assert list(announced_searches()) == [entry.identifier]


def test_a_finder_of_one_version_finds_for_all_and_is_seen_by_its_own(versions: AddVersions) -> None:
    before = [*sys.meta_path]
    entries = versions({"toy_zoo.py": FINDING})
    modules = [entry.import_module("toy_zoo") for entry in entries.values()]
    assert [module.seen() == [module.finder] for module in modules] == [True] * 3
    assert [_made(n).answer for n in (1, 2, 3)] == [1, 2, 3]
    importlib.invalidate_caches()
    assert [module.finder.told for module in modules] == [True] * 3
    assert importlib.metadata.version("torch")  # none of them is asked
    assert [module.finder in sys.meta_path for module in modules] == [True] * 3
    for entry in entries.values():
        unload(entry.unit)
    assert sys.meta_path == before


def test_what_a_version_takes_from_the_standard_finder_is_gone_for_itself_alone(versions: AddVersions) -> None:
    modules = [entry.import_module("toy_zoo") for entry in versions({"toy_zoo.py": FINDING}).values()]
    before = importlib.metadata.version("torch")
    assert [module.spoil() for module in modules] == [[], [], []]
    assert importlib.metadata.version("torch") == before


def test_a_walk_over_all_top_level_modules_begins_with_the_own_ones(
    make_wheel: Callable[..., Path], store: Store
) -> None:
    source = "import pkgutil\nnames = [each.name for each in pkgutil.iter_modules() if each.name.startswith('toy_')]"
    plugin = make_wheel("toy-plugin", "1.0", {"toy_plugin.py": ""})
    for number in ("1.0", "2.0"):
        entry = store.add([make_wheel("toy-zoo", number, {"toy_zoo.py": source}), plugin])
        assert entry.import_module("toy_zoo").names == ["toy_plugin", "toy_zoo"]
