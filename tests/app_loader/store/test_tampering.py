"""A stored file that is not what its RECORD pins does not run, however it came there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import IntegrityError, IsolationError
from app_loader.isolated import unload
from app_loader.store import Entry, Store

MakeWheel = Callable[..., Path]
EVIL = "answer = 666666\n"


@pytest.fixture
def entry(make_wheel: MakeWheel, store: Store) -> Entry:
    files = {"toy_zoo/__init__.py": "", "toy_zoo/part.py": "answer = 111111\n"}
    return store.add([make_wheel("toy-zoo", "1.0", files)])


def writable(path: Path) -> Path:
    path.parent.chmod(0o755)
    if path.exists():
        path.chmod(0o644)
    return path


def in_place(part: Path) -> None:
    writable(part).write_text(EVIL)


def by_rename(part: Path) -> None:
    other = writable(part).with_name("other")
    other.write_text(EVIL)
    other.replace(part)


def by_a_link(part: Path) -> None:
    target = part.parents[3] / "elsewhere.py"
    target.write_text(EVIL)
    writable(part).unlink()
    part.symlink_to(target)


def by_a_package(part: Path) -> None:
    folder = writable(part).with_suffix("")
    folder.mkdir()
    (folder / "__init__.py").write_text(EVIL)


def by_bytecode_beside_it(part: Path) -> None:
    import py_compile

    source = part.parents[3] / "evil.py"
    source.write_text(EVIL)
    writable(part).unlink()
    py_compile.compile(str(source), cfile=str(part.with_suffix(".pyc")))


TAMPERING = [in_place, by_rename, by_a_link, by_bytecode_beside_it]


@pytest.mark.parametrize("tamper", TAMPERING)
def test_a_changed_module_is_refused(entry: Entry, tamper: Callable[[Path], None]) -> None:
    tamper(entry.path / "toy_zoo" / "part.py")
    with pytest.raises((IntegrityError, IsolationError)):
        entry.import_module("toy_zoo.part")
    assert entry.verify()


def test_a_package_put_beside_a_module_does_not_take_its_place(entry: Entry) -> None:
    by_a_package(entry.path / "toy_zoo" / "part.py")
    assert entry.import_module("toy_zoo.part").answer == 111111
    assert entry.verify() == ["toy_zoo/part/__init__.py was not in the wheel"]


def test_a_module_that_the_wheel_did_not_bring_is_refused(entry: Entry) -> None:
    writable(entry.path / "toy_zoo" / "extra.py").write_text(EVIL)
    with pytest.raises(IntegrityError):
        entry.import_module("toy_zoo.extra")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"digest": "0", "wheels": []}', '{"digest": "0", "wheels": [3]}']
)
def test_an_entry_whose_description_was_damaged_is_named_and_not_passed_over(
    entry: Entry, store: Store, text: str
) -> None:
    described = writable(entry.folder / "entry.json")
    described.write_text(text)
    with pytest.raises(IntegrityError) as caught:
        store.entries()
    assert caught.value.subject == str(entry.folder)


def test_a_link_in_the_store_is_named_whatever_it_leads_to(entry: Entry) -> None:
    part = writable(entry.path / "toy_zoo" / "part.py")
    elsewhere = part.parents[3] / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "__init__.py").write_text(EVIL)
    (part.parent / "more").symlink_to(elsewhere)
    assert entry.verify() == ["toy_zoo/more was not in the wheel"]
    part.rename(elsewhere / "part.py")
    part.symlink_to(elsewhere / "part.py")  # the same bytes, where another may change them after the check
    assert len(entry.verify()) == 2


@pytest.mark.parametrize("tamper", [in_place, by_a_link])
def test_a_change_that_keeps_size_and_time_never_gets_its_code_run(
    entry: Entry, tamper: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    part = entry.path / "toy_zoo" / "part.py"
    assert entry.import_module("toy_zoo.part").answer == 111111  # and its bytecode is kept
    unload(entry.unit)
    status = part.stat()
    tamper(part)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert part.stat().st_size == status.st_size
    assert entry.import_module("toy_zoo.part").answer == 111111
    unload(entry.unit)
    shutil.rmtree(entry.unit.bytecode or Path("/nonexistent"))
    with pytest.raises(IntegrityError):
        entry.import_module("toy_zoo.part")
