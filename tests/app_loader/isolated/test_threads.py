"""Many threads import one cyclic, slow package at once: one class object, and no half-made module after a failure."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from app_loader.isolated import _entrance
from app_loader.store import Entry

AddVersions = Callable[..., dict[str, Entry]]

CYCLIC = {
    "toy_zoo/__init__.py": "from toy_zoo.a import A",
    "toy_zoo/a.py": "import sys\nfor _ in range(200):\n    sys._getframe()\n"
    "import toy_zoo.b\nclass A:\n    number = {n}",
    "toy_zoo/b.py": "import toy_zoo.a\nfrom toy_zoo import c\nclass B:\n    def a(self):\n        return toy_zoo.a.A",
    "toy_zoo/c.py": "from . import b\n",
}


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns every few bytecodes, so that they meet in the middle of imports."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("round_number", range(8))
def test_eight_threads_get_one_class_per_version(versions: AddVersions, round_number: int) -> None:
    entries = versions({**CYCLIC, "toy_zoo/round.py": f"number = {round_number}\n"})  # other files, another digest
    start = threading.Barrier(8)
    found: list[tuple[str, type]] = []

    def run(number: str, name: str) -> None:
        start.wait()
        module = entries[number].import_module(name)
        found.append((number, module.B().a() if name.endswith("b") else module.A))

    names = ["toy_zoo", "toy_zoo.b", "toy_zoo.a"]
    jobs = [threading.Thread(target=run, args=(str(1 + i % 3), names[i % 2])) for i in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(found) == 8
    assert {number: {kind for n, kind in found if n == number} for number in entries} == {
        number: {entry.import_module("toy_zoo").A} for number, entry in entries.items()
    }
    assert sorted(entry.import_module("toy_zoo").A.number for entry in entries.values()) == [1, 2, 3]


def test_a_failed_import_leaves_no_half_made_module(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "answer = {n}\nraise ValueError(answer)"})["2"]
    for _ in range(2):
        with pytest.raises(ValueError, match="2"):
            entry.import_module("toy_zoo")
    assert not {name for name in sys.modules if name.endswith(f"{entry.identifier}.toy_zoo")}


def test_a_traceback_shows_the_users_file_and_no_frame_of_the_isolation(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "import toy_zoo.bad", "toy_zoo/bad.py": "\n\nanswer = 1 / 0"})["2"]
    with pytest.raises(ZeroDivisionError) as caught:
        entry.import_module("toy_zoo")
    lines = [(str(each.path), each.lineno + 1) for each in caught.traceback]
    assert (str(entry.path / "toy_zoo" / "bad.py"), 3) in lines
    assert "toy_zoo__2_0" in lines[-1][0]
    assert not [path for path, _ in lines if "/src/app_loader/" in path and not path.endswith("entry.py")]


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A shared module where threads meet, and through which a version reaches others."""
    (tmp_path / "toy_meeting.py").write_text(
        "import threading\nbarrier = threading.Barrier(2, timeout=30)\nentries = {}\n"
        "def in_thread(number, name):\n    found = []\n"
        "    thread = threading.Thread(target=lambda: found.append(entries[number].import_module(name)), daemon=True)\n"
        "    thread.start()\n    thread.join(30)\n    return found\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("toy_meeting")
    del sys.modules["toy_meeting"]


def test_a_module_may_wait_for_a_thread_that_enters_another_unit(versions: AddVersions, meeting: ModuleType) -> None:
    source = "import toy_meeting\nanswer = {n}\nif {n} == 1: inner = toy_meeting.in_thread('2', 'toy_zoo')[0].answer"
    meeting.entries.update(versions({"toy_zoo.py": source}))
    assert meeting.entries["1"].import_module("toy_zoo").inner == 2


def test_a_module_may_wait_for_a_thread_that_asks_for_what_is_imported_already(
    versions: AddVersions, meeting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entrance, "_PATIENCE_FOR_PRESENT_S", 0.0)
    source = "import toy_meeting\nfrom toy_zoo.done import answer\ninner = toy_meeting.in_thread('1', 'toy_zoo.done')"
    meeting.entries.update(versions({"toy_zoo/__init__.py": source, "toy_zoo/done.py": "answer = {n}"}))
    module = meeting.entries["1"].import_module("toy_zoo")
    assert [inner.answer for inner in module.inner] == [1]


def test_two_units_that_enter_one_another_from_two_threads_are_both_imported(
    versions: AddVersions, meeting: ModuleType
) -> None:
    source = (
        "import toy_meeting\ntoy_meeting.barrier.wait()\n"
        "other = toy_meeting.entries['2' if {n} == 1 else '1'].import_module('toy_zoo')\nanswer = {n}"
    )
    meeting.entries.update(versions({"toy_zoo.py": source}))
    found: dict[str, ModuleType] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: meeting.entries[n].import_module("toy_zoo")}), daemon=True)
        for n in ("1", "2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {number: module.answer for number, module in found.items()} == {"1": 1, "2": 2}
    assert found["1"].other is found["2"]
    assert found["2"].other is found["1"]


def test_half_of_a_cycle_is_not_given_before_the_other_half_is_there(
    versions: AddVersions, meeting: ModuleType
) -> None:
    cycle = {
        "toy_zoo/__init__.py": "import toy_zoo.a",
        "toy_zoo/a.py": "import toy_meeting, toy_zoo.b\nfrom app_loader.isolated import _entrance\n"
        "toy_meeting.barrier.wait()\nfor _ in range(10**6):\n    if _entrance._awaited: break\nanswer = {n}",
        "toy_zoo/b.py": "import toy_zoo.a\ndef say(): return toy_zoo.a.answer",
    }
    entry = versions(cycle)["1"]
    thread = threading.Thread(target=entry.import_module, args=("toy_zoo",), daemon=True)
    thread.start()
    meeting.barrier.wait()  # b is imported, and a is not
    assert entry.import_module("toy_zoo.b").say() == 1
    thread.join(30)


def test_a_thread_that_lost_patience_goes_in_and_says_which_unit(
    versions: AddVersions, meeting: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_entrance, "_PATIENCE_S", 0.0)
    source = "import toy_meeting\ninner = toy_meeting.in_thread('1', 'toy_zoo.late')"
    meeting.entries.update(versions({"toy_zoo/__init__.py": source, "toy_zoo/late.py": "answer = {n}"}))
    module = meeting.entries["1"].import_module("toy_zoo")
    assert [inner.answer for inner in module.inner] == [1]
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["toy-zoo 1.0"]


def test_a_module_that_puts_an_object_in_its_place_may_be_imported_again(versions: AddVersions) -> None:
    source = "import sys\nclass Lazy:\n    answer = {n}\nsys.modules[__name__] = Lazy()\n"
    for number, entry in versions({"toy_zoo/__init__.py": "", "toy_zoo/lazy.py": source}).items():
        first = entry.import_module("toy_zoo.lazy")
        assert entry.import_module("toy_zoo.lazy") is first
        assert first.answer == int(number)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes are forked")
def test_a_forked_child_waits_for_no_thread_that_it_does_not_have(versions: AddVersions, meeting: ModuleType) -> None:
    source = "import toy_meeting\ntoy_meeting.barrier.wait()\ntoy_meeting.barrier.wait()\nanswer = {n}"
    entry = versions({"toy_zoo/__init__.py": "", "toy_zoo/slow.py": source, "toy_zoo/other.py": "answer = {n}"})["1"]
    thread = threading.Thread(target=entry.import_module, args=("toy_zoo.slow",), daemon=True)
    thread.start()
    meeting.barrier.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: there is another thread, as is meant here
        child = os.fork()
    if not child:
        try:
            alone = entry.unit.entrance.inside == []
            os._exit(0 if alone and entry.import_module("toy_zoo.other").answer == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    meeting.barrier.wait()
    thread.join(30)
    assert entry.unit.entrance.inside == []


def test_whoever_left_is_waited_for_no_longer(versions: AddVersions) -> None:
    entry = versions({"toy_zoo/__init__.py": "", "toy_zoo/bad.py": "1 / 0"})["1"]
    with pytest.raises(ZeroDivisionError):
        entry.import_module("toy_zoo.bad")
    assert entry.unit.entrance.inside == []
    assert not _entrance._awaited
