"""Many threads import one cyclic, slow package at once: one class object, and no half-made module after a failure."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
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
