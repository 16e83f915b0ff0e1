"""Look-ups by name inside old code give the old version's answers: metadata, data, specs, entry points, pickles."""

from __future__ import annotations

import builtins
import importlib.metadata
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader.store import Entry, Store

AddVersions = Callable[..., dict[str, Entry]]

BASE = {"toy_zoo/__init__.py": "", "toy_zoo/consts.py": "class Kind:\n    number = {n}\n", "toy_zoo/data.txt": "{n}"}

ENTRY_POINTS = "[toys]\none = toy_zoo.consts:Kind\n[toy_zoo.toys]\none = toy_zoo.consts:Kind\n"

LOOK_UPS = {
    "version": ("from importlib.metadata import version\nanswer = version('toy-zoo')", "{n}.0"),
    "version as attribute": (
        "import importlib\nimport importlib.metadata\nanswer = importlib.metadata.version('toy_zoo')",
        "{n}.0",
    ),
    "version by backport": ("import importlib_metadata as m\nanswer = m.version('toy.zoo')", "{n}.0"),
    "version by __package__": ("from importlib import metadata\nanswer = metadata.version(__package__)", "{n}.0"),
    "distribution": (
        "from importlib import metadata\nanswer = metadata.distribution('toy-zoo').metadata['Version']",
        "{n}.0",
    ),
    "every distribution": (
        "from importlib.metadata import distributions\n"
        "answer = [d.version for d in distributions() if d.metadata['Name'] == 'toy-zoo']",
        ["{n}.0"],
    ),
    "entry point": (
        "from importlib.metadata import entry_points\nanswer = [p.load().number for p in entry_points(group='toys')]",
        ["{n}"],
    ),
    "entry points of a group named after the package": (
        "from importlib.metadata import entry_points\n"
        "answer = [p.load().number for p in entry_points(group=f'{__package__}.toys')]",
        ["{n}"],
    ),
    "files": (
        "from importlib.resources import files\nanswer = files('toy_zoo').joinpath('data.txt').read_text()",
        "{n}",
    ),
    "get_data": ("import pkgutil\nanswer = pkgutil.get_data('toy_zoo', 'data.txt').decode()", "{n}"),
    "find_spec": ("import importlib.util\nanswer = importlib.util.find_spec('toy_zoo.consts') is not None", True),
    "no spec": ("import importlib.util\nanswer = importlib.util.find_spec('toy_zoo.nothing')", None),
    "beside the file": ("import os\nanswer = open(os.path.join(os.path.dirname(__file__), 'data.txt')).read()", "{n}"),
    "class path in a logging configuration": (
        "import logging.config\n"
        "reader = logging.config.DictConfigurator({})\n"
        "answer = str(reader.configure_custom({'()': 'toy_zoo.consts.Kind'}).number)",
        "{n}",
    ),
    "owners": (
        "from importlib.metadata import packages_distributions\nanswer = packages_distributions()['toy_zoo']",
        ["toy-zoo"],
    ),
}


@pytest.mark.parametrize("look_up", LOOK_UPS, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_old_code_finds_what_belongs_to_its_version(versions: AddVersions, look_up: str) -> None:
    source, expected = LOOK_UPS[look_up]
    entries = versions({**BASE, "toy_zoo/asks.py": source}, entry_points=ENTRY_POINTS)

    def filled(number: str) -> Any:
        if isinstance(expected, list):
            return [int(number) if text == "{n}" else text.replace("{n}", number) for text in expected]
        return expected.replace("{n}", number) if isinstance(expected, str) else expected

    answers = {number: entry.import_module("toy_zoo.asks").answer for number, entry in entries.items()}
    assert answers == {number: filled(number) for number in entries}


READERS = {
    "pickle.loads": "import pickle\ndef read(data): return pickle.loads(data)",
    "loads by name": "from pickle import loads\ndef read(data): return loads(data)",
    "Unpickler": "import io, pickle\ndef read(data): return pickle.Unpickler(io.BytesIO(data)).load()",
    "a subclass": (
        "import io, pickle\nclass Reader(pickle.Unpickler):\n    def find_class(self, module, name):\n"
        "        return super().find_class(module.replace('old_zoo', 'toy_zoo'), name)\n"
        "def read(data): return Reader(io.BytesIO(data)).load()"
    ),
    "cloudpickle": "import cloudpickle\ndef read(data): return cloudpickle.loads(data)",
}


@pytest.mark.parametrize("reader", READERS)
def test_bytes_that_name_the_package_give_the_readers_own_class(versions: AddVersions, reader: str) -> None:
    named = b"ctoy_zoo.consts\nKind\n."  # protocol 0: a class by module and name
    entries = versions({**BASE, "toy_zoo/reads.py": READERS[reader]})
    found = {n: entry.import_module("toy_zoo.reads").read(named) for n, entry in entries.items()}
    assert {n: kind.number for n, kind in found.items()} == {"1": 1, "2": 2, "3": 3}


@pytest.mark.parametrize("options", [{"weights_only": whole} for whole in (True, False)] + [{}])
@pytest.mark.parametrize("imported", ["import torch\nload = torch.load", "from torch import load"])
def test_whole_objects_are_asked_for_with_the_versions_own_reader_and_weights_as_always(
    versions: AddVersions, monkeypatch: pytest.MonkeyPatch, imported: str, options: dict[str, bool]
) -> None:
    asked: list[tuple[Any, dict[str, bool]]] = []

    def recorded(f: Any, map_location: Any = None, pickle_module: Any = None, **options: bool) -> None:
        asked.append((pickle_module, options))  # nothing is loaded here

    monkeypatch.setattr(torch, "load", recorded)
    source = f"{imported}\ndef read(data, **options): return load(data, **options)"
    for entry in versions({**BASE, "toy_zoo/reads.py": source}).values():
        entry.import_module("toy_zoo.reads").read(b"", **options)
        reader, passed = asked.pop()
        assert passed == options  # what the code leaves alone stays torch's own default
        if options.get("weights_only", True):
            assert reader is None
        else:
            kind = reader.loads(b"ctoy_zoo.consts\nKind\n.")
            assert kind is entry.import_module("toy_zoo.consts").Kind


def test_pickles_of_isolated_objects_come_back_as_the_same_class(versions: AddVersions) -> None:
    kinds = [entry.import_module("toy_zoo.consts").Kind for entry in versions(BASE).values()]
    assert pickle.loads(pickle.dumps(kinds)) == kinds


def test_a_module_name_that_is_compared_or_taken_apart_is_the_original_one(versions: AddVersions) -> None:
    source = """
class Kind: pass
answer = (
    __name__ == "toy_zoo.asks",
    Kind.__module__.startswith("toy_zoo"),
    Kind.__module__.split(".")[0],
    __name__.partition(".")[0],
    Kind.__module__ in ("toy_zoo.asks", "other"),
)
"""
    for entry in versions({**BASE, "toy_zoo/asks.py": source}).values():
        assert entry.import_module("toy_zoo.asks").answer == (True, True, "toy_zoo", "toy_zoo", True)


def test_a_name_that_begins_with_one_of_a_list_is_the_original_one(versions: AddVersions) -> None:
    source = """
import sys
def called_from(*others):
    ignored = ["toy_zoo", *others]
    frame = sys._getframe()
    name = frame.f_globals.get("__name__") or "?"
    while any(tuple(name.startswith(each) for each in ignored)):
        frame = frame.f_back
        name = frame.f_globals["__name__"]
    return name
def begins(name, *others):
    return [name.startswith(others), name.startswith(__name__), name.startswith((__name__, "other"), 0)]
"""
    for entry in versions({**BASE, "toy_zoo/asks.py": source}).values():
        module = entry.import_module("toy_zoo.asks")
        assert module.called_from() == __name__
        assert module.called_from(__name__, "_pytest") not in (__name__, module.__name__)
        assert module.begins(module.__name__, "toy_zoo") == [True, True, True]
        assert module.begins("toy_zoo.asks.more") == [False, True, True]
        assert module.begins("elsewhere", "else") == [True, False, False]


def test_a_module_name_that_is_written_still_leads_into_the_unit(versions: AddVersions) -> None:
    source = """
class Public: pass
Public.__module__ = "toy_zoo"
Made = type("Made", (), {"__module__": "toy_zoo"})
class Inner:
    __module__ = "toy_zoo"
class Annotated:
    __module__: str = "toy_zoo"
class Both: pass
Both.__qualname__, Both.__module__ = "Both", "toy_zoo"
"""
    init = "from toy_zoo.inner import Annotated, Both, Inner, Made, Public"
    for entry in versions({"toy_zoo/__init__.py": init, "toy_zoo/inner.py": source}).values():
        package = entry.import_module("toy_zoo")
        for name in ("Public", "Made", "Inner", "Annotated", "Both"):
            assert pickle.loads(pickle.dumps(getattr(package, name))) is getattr(package, name)


def test_a_table_with_original_names_as_keys_is_found_by_the_name_of_a_module(versions: AddVersions) -> None:
    source = """
from . import consts
from .consts import Kind
literal = {"toy_zoo.consts": {n}}
own = {consts.__name__: {n}, "toy_zoo": 0}
class Holder:
    literal = literal
answer = (
    literal[consts.__name__],
    literal.get(Kind.__module__),
    Holder.literal[Kind.__module__],
    {n} if Kind.__module__ in literal else 0,
    own[consts.__name__],
    own.get(Kind.__module__),
)
"""
    entries = versions({**BASE, "toy_zoo/asks.py": source})
    answers = [entry.import_module("toy_zoo.asks").answer for entry in entries.values()]
    assert answers == [(n,) * 6 for n in (1, 2, 3)]


def test_a_class_body_knows_its_module_by_the_original_name(versions: AddVersions) -> None:
    source = """
import pickle
installed = ["toy_zoo.other", "toy_zoo.asks"]
class Meta(type):
    def __new__(meta, name, bases, body):
        module = body.pop("__module__")
        made = super().__new__(meta, name, bases, {"__module__": module, **body})
        made.app = next(app for app in installed if module.startswith(app))
        return made
class Model(metaclass=Meta): number = {n}
Other = type("Other", (), dict(__module__=Model.__dict__["__module__"]))
prefix = "toy_zoo.as"
answer = Model.app, Model.__module__.startswith(prefix), pickle.loads(pickle.dumps(Model)).number
"""
    entries = versions({**BASE, "toy_zoo/asks.py": source})
    modules = [entry.import_module("toy_zoo.asks") for entry in entries.values()]
    assert [module.answer for module in modules] == [("toy_zoo.asks", True, n) for n in (1, 2, 3)]
    assert [pickle.loads(pickle.dumps(m.Other)) is m.Other for m in modules] == [True, True, True]


def test_a_pickler_of_functions_may_write_the_stand_in_of_a_shared_module(versions: AddVersions) -> None:
    source = "import importlib\nimport pickle\nnumber = {n}"
    for entry in versions({**BASE, "toy_zoo/asks.py": source}).values():
        module = entry.import_module("toy_zoo.asks")
        assert pickle.loads(pickle.dumps(module.importlib)) is module.importlib


def test_what_stands_for_shared_things_in_isolated_code_pickles_by_name(versions: AddVersions) -> None:
    source = """
import importlib, sys, torch
from importlib import import_module
from pickle import loads
@torch.library.custom_op("toy_pickled::number", mutates_args=())
def number(x: torch.Tensor) -> torch.Tensor: return x + {n}
def held(): return [sys.modules, torch.ops, torch.ops.toy_pickled, import_module, loads, __import__]
def helped(kind): return kind.__module__.split(".")
def names(): return helped.__code__.co_names
"""
    for entry in versions({**BASE, "toy_zoo/asks.py": source}).values():
        module = entry.import_module("toy_zoo.asks")
        held = [*module.held(), *(vars(builtins)[name] for name in module.names() if name.startswith("__mpt_"))]
        assert len(held) == 7
        assert all(one is other for one, other in zip(pickle.loads(pickle.dumps(held)), held, strict=True))


def test_old_code_knows_the_class_of_its_modules_loaders(versions: AddVersions, tmp_path: Path) -> None:
    source = """
import importlib.machinery
from importlib.machinery import SourceFileLoader
found = {SourceFileLoader: {n}}
answer = found[type(__loader__)], isinstance(__spec__.loader, importlib.machinery.SourceFileLoader)
def load(path): return SourceFileLoader("made_up", path).load_module().answer
"""
    (tmp_path / "made_up.py").write_text("from toy_zoo.consts import Kind\nanswer = Kind.number")
    entries = versions({**BASE, "toy_zoo/asks.py": source})
    modules = [entry.import_module("toy_zoo.asks") for entry in entries.values()]
    assert [module.answer for module in modules] == [(n, True) for n in (1, 2, 3)]
    with pytest.warns(DeprecationWarning):
        assert [module.load(str(tmp_path / "made_up.py")) for module in modules] == [1, 2, 3]


def test_a_private_copy_of_the_metadata_library_finds_its_own_units_distributions(
    make_wheel: Callable[..., Path], store: Store
) -> None:
    """The copy is the standard library's own text under the name of its backport, which looks along `sys.path`."""
    folder = Path(str(importlib.metadata.__file__)).parent
    copy = {f"importlib_metadata/{path.name}": path.read_text("utf-8") for path in folder.glob("*.py")}
    private = make_wheel("importlib-metadata", "0.5", copy)
    source = (
        "import importlib_metadata\ndef ask(name): return importlib_metadata.version(name)\n"
        "def names(): return [each.metadata['Name'] for each in importlib_metadata.distributions()]"
    )
    for number in ("1.0", "2.0"):
        module = store.add([make_wheel("toy-zoo", number, {"toy_zoo.py": source}), private]).import_module("toy_zoo")
        assert (module.ask("toy-zoo"), module.ask("importlib_metadata")) == (number, "0.5")
        assert module.ask("torch") == importlib.metadata.version("torch")
        assert module.names().count("toy-zoo") == 1
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("toy-zoo")
