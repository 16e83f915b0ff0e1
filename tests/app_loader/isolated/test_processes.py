"""Instances of three versions travel between processes; a child without the store says what it lacks."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from app_loader.isolated import isolate_directory, original_name
from app_loader.isolated._announced import announced_stores
from app_loader.store import Entry, Store
from torch.utils.data import DataLoader

AddVersions = Callable[..., dict[str, Entry]]
MakeWheel = Callable[..., Path]

FILES = {
    "toy_zoo/__init__.py": "",
    "toy_zoo/things.py": """
class Thing:
    def __init__(self, value):
        self.value = value
    def answer(self):
        from toy_zoo.consts import scale
        return self.value * scale


def answer_of(thing):
    return thing.answer()


def thing_of(value):
    return Thing(value)


class Numbers:
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return Thing(index + 1)


def as_they_are(batch):
    return batch
""",
    "toy_zoo/consts.py": "scale = {n}",
}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_instances_of_three_versions_go_there_and_come_back(versions: AddVersions, method: str) -> None:
    modules = {n: entry.import_module("toy_zoo.things") for n, entry in versions(FILES).items()}
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert [pool.submit(m.answer_of, m.Thing(10)).result() for m in modules.values()] == [10, 20, 30]
        back = [pool.submit(m.thing_of, 10).result() for m in modules.values()]
    assert [type(thing) for thing in back] == [m.Thing for m in modules.values()]


def test_the_store_travels_with_a_process_even_where_the_environment_does_not(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {n: entry.import_module("toy_zoo.things") for n, entry in versions(FILES).items()}
    monkeypatch.delenv("MPT_STORES")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        assert [pool.submit(m.answer_of, m.Thing(1)).result() for m in modules.values()] == [1, 2, 3]


def test_workers_of_a_data_loader_return_instances_of_three_versions(versions: AddVersions) -> None:
    for number, entry in versions(FILES).items():
        module = entry.import_module("toy_zoo.things")
        loader = DataLoader(
            module.Numbers(),
            batch_size=2,
            num_workers=1,
            collate_fn=module.as_they_are,
            multiprocessing_context="spawn" if number == "1" else "forkserver",
        )
        (batch,) = list(loader)
        assert [type(thing) for thing in batch] == [module.Thing, module.Thing]
        assert [thing.answer() for thing in batch] == [int(number), 2 * int(number)]


def test_a_child_without_the_store_names_version_store_and_fix(versions: AddVersions, tmp_path: Path) -> None:
    entry = versions(FILES)["2"]
    data = pickle.dumps(entry.import_module("toy_zoo.things").Thing(1))
    program = (
        "import pickle, sys\nfrom app_loader.errors import UnitNotFoundError\n"
        "try:\n    pickle.loads(sys.stdin.buffer.read())\n"
        "except UnitNotFoundError as e:\n    print(e.distribution, e.version, *e.stores, e.next_command, sep='|')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPT_STORES"}
    environment["MPT_STORE"] = str(tmp_path / "elsewhere")
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, env=environment, check=True)
    distribution, version, store, command = done.stdout.decode().strip().split("|")
    assert (distribution, version, store) == ("toy-zoo", "2.0", str(tmp_path / "elsewhere"))
    assert command.startswith("mpt zoo add toy-zoo==2.0")


def folder_of(path: Path, number: int) -> Path:
    for name, text in FILES.items():
        file = path / str(number) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{n}", str(number)))
    return path / str(number)


@pytest.mark.parametrize("environment", ["kept", "lost"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_instances_of_isolated_folders_go_there_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, environment: str
) -> None:
    units = [isolate_directory(folder_of(tmp_path, n), bytecode=tmp_path / f"bytecode{n}") for n in (1, 2, 3)]
    modules = [unit.import_module("toy_zoo.things") for unit in units]
    if environment == "lost":
        monkeypatch.delenv("MPT_FOLDERS")
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert [pool.submit(m.answer_of, m.Thing(10)).result() for m in modules] == [10, 20, 30]
        back = [pool.submit(m.thing_of, 10).result() for m in modules]
    assert [type(thing) for thing in back] == [m.Thing for m in modules]


@pytest.mark.parametrize("fate", ["changed", "gone", "never announced"])
def test_a_folder_that_is_not_what_it_was_is_named_and_nothing_of_it_runs(tmp_path: Path, fate: str) -> None:
    folder = folder_of(tmp_path, 1)
    thing = isolate_directory(folder, bytecode=tmp_path / "bytecode").import_module("toy_zoo.things").Thing(1)
    data = pickle.dumps(thing)
    marker = tmp_path / "ran"
    if fate == "changed":
        (folder / "toy_zoo" / "__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    elif fate == "gone":
        folder.rename(tmp_path / "elsewhere")
    program = (
        "import pickle, sys\nfrom app_loader.errors import UnitNotFoundError\n"
        "try:\n    pickle.loads(sys.stdin.buffer.read())\n"
        "except UnitNotFoundError as e:\n    print(e.folder, 'isolate_directory' in e.next_command, sep='|')"
    )
    told = os.environ if fate != "never announced" else {k: v for k, v in os.environ.items() if k != "MPT_FOLDERS"}
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, env=dict(told), check=True)
    named = "None" if fate == "never announced" else str(folder)
    assert done.stdout.decode().strip() == f"{named}|True"
    assert not marker.exists()


def test_a_child_told_of_the_store_needs_nothing_else(versions: AddVersions, store: Store) -> None:
    thing = versions(FILES)["3"].import_module("toy_zoo.things").Thing(5)
    program = "import pickle, sys\nprint(pickle.loads(sys.stdin.buffer.read()).answer())"
    environment = {**os.environ, "MPT_STORES": "", "MPT_STORE": str(store.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(thing), capture_output=True, env=environment, check=True
    )
    assert done.stdout.strip() == b"15"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_store_and_a_folder_may_lie_where_a_path_has_the_sign_between_paths(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("MPT_STORES", str(tmp_path / "plain"))  # announced by somebody else, as a list of paths
    place = tmp_path / f"a{os.pathsep}b"
    files = {name: text.replace("{n}", "2") for name, text in FILES.items()}
    stored = Store(place / "store").add([make_wheel("toy-zoo", "2.0", files)]).import_module("toy_zoo.things")
    folder = isolate_directory(folder_of(place, 3), bytecode=place / "bytecode").import_module("toy_zoo.things")
    Store(tmp_path / "later").add([make_wheel("toy-zoo", "3.0", files)]).import_module("toy_zoo")
    assert announced_stores() == [tmp_path / "plain", place / "store", tmp_path / "later"]
    for lost in (False, True):  # whatever of the two announcements arrives
        if lost:
            monkeypatch.delenv("MPT_STORES")
            monkeypatch.delenv("MPT_FOLDERS")
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            assert [pool.submit(each.answer_of, each.Thing(10)).result() for each in (stored, folder)] == [20, 30]


def test_unpickling_imports_neither_torch_nor_the_rest_of_the_loader(versions: AddVersions, store: Store) -> None:
    kind = versions(FILES)["1"].import_module("toy_zoo.things").Thing
    program = (
        "import pickle, sys\npickle.loads(sys.stdin.buffer.read())\n"
        "print('torch' in sys.modules, 'app_loader.load' in sys.modules)"
    )
    environment = {**os.environ, "MPT_STORES": str(store.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(kind), capture_output=True, env=environment, check=True
    )
    assert done.stdout.split() == [b"False", b"False"]
    assert original_name(kind.__module__) == "toy_zoo.things"
