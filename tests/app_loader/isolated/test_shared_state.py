"""Side effects of importing are noticed and restored; unloading says what stays; an installed copy is untouched."""

from __future__ import annotations

import copy
import gc
import os
import random
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import numpy.random
import pytest
import torch
from app_loader.errors import IntegrityError, SharedLibraryError
from app_loader.isolated import known_units, unload
from app_loader.store import Entry, Store

AddVersions = Callable[..., dict[str, Entry]]
MakeWheel = Callable[..., Path]

legacy: Any = numpy.random  # its stubs leave out two of the names

EFFECTS = {
    "default dtype": "import torch\ntorch.set_default_dtype(torch.float64)",
    "random state of torch": "import torch\ntorch.rand(1)",
    "random state of random": "import random\nrandom.random()",
    "random state of numpy": "import numpy\nnumpy.random.rand()",
    "environment variables": "import os\nos.environ['TOY_ZOO'] = '1'",
    "root logger": "import logging\nlogging.root.addHandler(logging.NullHandler())",
    "warning filters": "import warnings\nwarnings.simplefilter('ignore', ResourceWarning)",
    "numpy error handling": "import numpy\nnumpy.seterr(divide='raise')",
    "recursion limit": "import sys\nsys.setrecursionlimit(sys.getrecursionlimit() + 1)",
    "working directory": "import os, tempfile\nos.chdir(tempfile.gettempdir())",
}


@pytest.mark.parametrize("what", EFFECTS)
def test_a_side_effect_of_importing_is_reported_and_restored(
    make_wheel: MakeWheel, store: Store, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": EFFECTS[what]})])
    before = (torch.get_default_dtype(), random.getstate(), dict(os.environ), sys.getrecursionlimit(), Path.cwd())
    filters, seed = list(warnings.filters), torch.get_rng_state()
    drawn = numpy.random.RandomState()
    drawn.set_state(numpy.random.get_state())
    entry.import_module("toy_zoo", effects="restore")
    assert {effect.what: effect.restored for effect in entry.effects}[what]
    after = (torch.get_default_dtype(), random.getstate(), dict(os.environ), sys.getrecursionlimit(), Path.cwd())
    assert after[:2] == before[:2]
    assert after[3:] == before[3:]
    assert {k: v for k, v in after[2].items() if k != "MPT_STORES"} == {
        k: v for k, v in before[2].items() if k != "MPT_STORES"
    }
    assert list(warnings.filters) == filters
    assert torch.equal(torch.get_rng_state(), seed)
    assert numpy.random.rand() == drawn.rand()


@pytest.fixture
def _legacy_generator() -> Iterator[None]:
    before = legacy.get_bit_generator()
    yield
    legacy.set_bit_generator(before)


@pytest.mark.usefixtures("_legacy_generator")
@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "Philox", "SFC64"])
@pytest.mark.parametrize("source", ["numpy.random.rand()", "numpy.random.set_bit_generator(numpy.random.MT19937(5))"])
def test_any_generator_of_numpy_is_put_back_as_it_was(
    make_wheel: MakeWheel, store: Store, kind: str, source: str
) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": f"import numpy\n{source}"})])
    generator = getattr(numpy.random, kind)(7)
    legacy.set_bit_generator(generator)
    numpy.random.standard_normal()  # leaves a second draw behind in some generators
    before = copy.deepcopy(numpy.random.get_state(legacy=False))
    expected = numpy.random.standard_normal(3)
    numpy.random.set_state(before)
    entry.import_module("toy_zoo", effects="restore")
    assert [(effect.what, effect.restored) for effect in entry.effects] == [("random state of numpy", True)]
    assert legacy.get_bit_generator() is generator
    assert numpy.array_equal(numpy.random.standard_normal(3), expected)


def test_a_side_effect_is_left_alone_when_only_reported(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": EFFECTS["default dtype"]})])
    try:
        entry.import_module("toy_zoo")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert [(effect.what, effect.restored) for effect in entry.effects] == [("default dtype", False)]


def test_a_unit_without_side_effects_reports_none(versions: AddVersions) -> None:
    for entry in versions({"toy_zoo.py": "answer = {n}"}).values():
        entry.import_module("toy_zoo")
        assert entry.effects == ()


def test_unloading_frees_what_nothing_holds(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "class A:\n    def f(self):\n        return A\ndef g(): return A"})["1"]
    kept = weakref.ref(entry.import_module("toy_zoo").A)
    report = unload(entry.unit)
    assert (kept(), report.alive, report.freed) == (None, (), 2)
    assert entry.identifier not in {unit.identifier for unit in known_units()}
    assert not [name for name in sys.modules if entry.identifier in name and "__shims__" not in name]


def test_unloading_names_what_is_still_held_and_it_keeps_working(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "class A:\n    def f(self):\n        return {n}\n"})["2"]
    held = [entry.import_module("toy_zoo").A()]
    report = unload(entry.unit)
    assert [alive.name for alive in report.alive] == ["toy_zoo.A"]
    assert report.alive[0].held_by
    assert held[0].f() == 2
    again = entry.import_module("toy_zoo").A
    assert again is not type(held[0])


def test_unloading_after_compiling_says_that_dynamo_holds_on(versions: AddVersions) -> None:
    torch._dynamo.reset()
    source = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x * {n}\n"
    entry = versions({"toy_zoo/__init__.py": source})["3"]
    net = entry.import_module("toy_zoo").Net()
    assert float(torch.compile(net, backend="eager")(torch.ones(1))) == 3
    del net
    gc.collect()
    kept = weakref.ref(entry.import_module("toy_zoo").Net)
    first = unload(entry.unit)
    assert first.modules >= 2
    assert [alive.name for alive in first.alive] == ["toy_zoo.Net"]
    assert ["Dynamo" in holder for holder in first.alive[0].held_by] == [True]
    torch._dynamo.reset()
    gc.collect()
    assert kept() is None


def test_the_installed_version_beside_it_is_untouched(
    versions: AddVersions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_zoo").mkdir()
    (tmp_path / "toy_zoo" / "__init__.py").write_text("import toy_zoo.consts")
    (tmp_path / "toy_zoo" / "consts.py").write_text("scale = 9")
    monkeypatch.syspath_prepend(str(tmp_path))
    import toy_zoo

    files = {"toy_zoo/__init__.py": "import toy_zoo.consts", "toy_zoo/consts.py": "scale = {n}"}
    answers = [entry.import_module("toy_zoo").toy_zoo.consts.scale for entry in versions(files).values()]
    assert (answers, toy_zoo.consts.scale, sys.modules["toy_zoo"]) == ([1, 2, 3], 9, toy_zoo)
    for name in ("toy_zoo", "toy_zoo.consts"):
        del sys.modules[name]


def test_a_changed_byte_in_the_store_is_refused_before_it_runs(versions: AddVersions, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    entry = versions({"toy_zoo/__init__.py": "", "toy_zoo/late.py": "answer = {n}"})["1"]
    entry.import_module("toy_zoo")
    changed = entry.path / "toy_zoo" / "late.py"
    changed.chmod(0o644)
    changed.write_text(f"open({str(marker)!r}, 'w').close()")
    with pytest.raises(IntegrityError) as caught:
        entry.import_module("toy_zoo.late")
    assert "toy_zoo/late.py" in caught.value.problems[0]
    assert not marker.exists()


def test_a_changed_byte_is_refused_also_where_bytecode_is_warm(versions: AddVersions) -> None:
    entry = versions({"toy_zoo.py": "answer = {n}"})["1"]
    assert entry.import_module("toy_zoo").answer == 1
    unload(entry.unit)
    changed = entry.path / "toy_zoo.py"
    changed.chmod(0o644)
    changed.write_text("answer = 7\n\n")
    with pytest.raises(IntegrityError):
        entry.import_module("toy_zoo")


def test_code_that_fails_on_a_moved_shared_library_says_which_one_moved(make_wheel: MakeWheel, store: Store) -> None:
    files = {"toy_zoo.py": "import numpy\nnumpy.a_name_of_long_ago"}
    requires = ("numpy<1.0", "packaging>=20", "nothing-like-it; python_version < '3'")
    entry = store.add([make_wheel("toy-zoo", "1.0", files, requires=requires)])
    with pytest.raises(SharedLibraryError) as caught:
        entry.import_module("toy_zoo")
    assert isinstance(caught.value, ImportError)
    assert len(caught.value.moved) == 1
    assert caught.value.moved[0].startswith("numpy: asked for <1.0")


def test_bytecode_lies_in_the_store_and_never_beside_the_source(versions: AddVersions, store: Store) -> None:
    entry = versions({"toy_zoo/__init__.py": "answer = {n}"})["1"]
    entry.import_module("toy_zoo")
    assert not list(entry.path.rglob("*.pyc"))
    written = sys.dont_write_bytecode or list((store.path / "bytecode" / entry.identifier).rglob("*.pyc"))
    assert written


def test_bytecode_that_a_power_failure_cut_off_is_compiled_anew(
    versions: AddVersions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    entry = versions({"toy_zoo.py": "answer = {n}"})["1"]
    entry.import_module("toy_zoo")
    (written,) = (store.path / "bytecode" / entry.identifier).rglob("*.pyc")
    whole = written.read_bytes()
    for kept in (whole[:-1], whole[: len(whole) // 2], whole[:24], whole[:24] + bytes(len(whole) - 24), b""):
        unload(entry.unit)
        written.write_bytes(kept)
        assert entry.import_module("toy_zoo").answer == 1
        assert written.read_bytes() == whole
