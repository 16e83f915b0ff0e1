"""`sys.path` and `sys.meta_path` of old code: what it puts there is its own version's, and nobody else's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch
from app_loader.isolated import Effects, unload
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
        assert [module.answers()[0] for module in modules] == [3, 1, 2, 3, 3]
        assert len({id(module.toy_helper) for module in modules}) == 4
    finally:
        for name in [each for each in sys.modules if each.partition(".")[0] in ("toy_zoo", "toy_helper", "toy_deep")]:
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
