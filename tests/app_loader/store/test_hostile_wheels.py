"""A wheel is somebody else's file: whatever its members are called or is broken in it, nothing gets past the store."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.code import StoredCode
from app_loader.errors import IncompatibleInterfaceError, IntegrityError, SourceRefusedError, UnsafeWheelError
from app_loader.judge import check_contract
from app_loader.resolve import resolve
from app_loader.settings import Settings
from app_loader.sources import add_requirement
from app_loader.store import Store
from mpt_format import CodeRecord

MakeWheel = Callable[..., Path]
FILES = {"toy_zoo/__init__.py": "answer = 1\n"}
DATA = "toy_zoo-1.0.data/purelib"


def test_no_file_is_written_outside_of_the_store_by_a_path_that_turns_absolute(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    mark = tmp_path / "mark.py"
    with pytest.raises(UnsafeWheelError) as caught:
        store.add([make_wheel("toy-zoo", "1.0", {**FILES, f"{DATA}/{mark}": "written"})])
    assert not mark.exists()
    assert len(caught.value.problems) == 1
    assert store.entries() == []


@pytest.mark.parametrize(
    "name",
    [
        "toy_zoo//a.py",
        "./toy_zoo/a.py",
        "toy_zoo/./a.py",
        "toy_zoo/\x1b[2Ja.py",
        "toy_zoo/\u202eyp.a",
        "toy_zoo/a.py:stream",
        "toy_zoo/" + "a" * 300 + ".py",
    ],
)
def test_a_member_whose_name_is_no_plain_path_is_refused(make_wheel: MakeWheel, store: Store, name: str) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel("toy-zoo", "1.0", {**FILES, name: ""})])


@pytest.mark.parametrize(
    "names",
    [
        ("toy_zoo/a.py", f"{DATA}/toy_zoo/a.py"),
        ("toy_zoo/a.py", f"{DATA}/toy_zoo/A.py"),
        (f"{DATA}/toy_zoo/a.py", "toy_zoo-1.0.data/platlib/toy_zoo/a.py"),
        ("toy_zoo/\u00e9.py", "toy_zoo/e\u0301.py"),
        ("toy_zoo/a", "toy_zoo/a/b.py"),
        ("toy_zoo/a/b.py", f"{DATA}/toy_zoo/A"),
    ],
)
def test_two_members_for_one_place_are_refused_also_where_only_some_disks_take_them_for_one(
    make_wheel: MakeWheel, store: Store, names: tuple[str, str]
) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel("toy-zoo", "1.0", {**FILES, **dict.fromkeys(names, "same")})])
    assert store.entries() == []


@pytest.mark.parametrize(
    "deep",
    ["-" * 100_000 + "1", "+".join("1" * 50_000), "f" + "()" * 50_000, "a" + ".b" * 400 + ".register('x')", "(" * 999],
    ids=["signs", "sums", "calls", "attributes", "parentheses"],
)
def test_source_that_is_nested_too_deeply_is_told_and_does_not_end_the_scan(
    make_wheel: MakeWheel, store: Store, deep: str
) -> None:
    files = {**FILES, "toy_zoo/deep.py": f"import sys\nsys.modules\nx = {deep}\n", "toy_zoo/z.py": "sys.modules\n"}
    scan = store.add([make_wheel("toy-zoo", "1.0", files)]).scan
    assert scan.unreadable == ("toy_zoo/deep.py",)
    assert [each.file for each in scan.module_table] == ["toy_zoo/z.py"]


def test_what_is_no_regular_file_is_refused_without_waiting(store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "toy_zoo-1.0-py3-none-any.whl"
    os.mkfifo(pipe)
    with pytest.raises(UnsafeWheelError):
        store.add([pipe])
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", Settings(wheelhouses=(tmp_path,)))
    record = CodeRecord(distribution="toy-zoo", version="1.0", wheel_sha256="0" * 64)
    assert resolve(record, "trained", store, wheelhouses=(tmp_path,)).chosen is None


@pytest.mark.parametrize(
    "line",
    [
        "numpy (>=1.11.*)",
        "numpy ; os_name ~= 'posix'",
        "numpy ; 'a' in extras",
        "numpy ; x",
        "...",
        "",
        "policy-interface ; 'a' in extras",
    ],
)
def test_a_requirement_that_nobody_can_judge_is_no_defect_of_ours(
    make_wheel: MakeWheel, store: Store, line: str
) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", FILES, requires=(line,))])
    check_contract(StoredCode(entry))
    assert [each.name for each in entry.shared_libraries()] in ([], ["numpy"], ["policy-interface"])


def test_a_range_of_the_contract_that_nobody_can_read_is_not_met(make_wheel: MakeWheel, store: Store) -> None:
    for number, line in enumerate(("policy-interface >=1,<2.*", "Policy_Interface (1 or 2)", "policy.interface ~=")):
        entry = store.add([make_wheel("toy-zoo", f"{number}.0", FILES, requires=(line,))])
        with pytest.raises(IncompatibleInterfaceError):
            check_contract(StoredCode(entry))


@pytest.mark.parametrize("line", ["Name: other", "Version: 2.0"])
def test_metadata_that_names_two_things_is_refused(make_wheel: MakeWheel, store: Store, line: str) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel("toy-zoo", "1.0", FILES, requires=(f"numpy\n{line}",))])


@pytest.mark.parametrize("points", [b"nonsense\n", b"\xff\xfe[x]\n", b"[x\n"])
def test_entry_points_that_nobody_can_read_are_refused_before_they_stand_in_every_listing(
    make_wheel: MakeWheel, store: Store, points: bytes
) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel("toy-zoo", "1.0", {**FILES, "toy_zoo-1.0.dist-info/entry_points.txt": points})])


def test_a_damaged_wheel_is_refused_with_an_error_of_ours_wherever_the_damage_is(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    text = "".join(f"name_{number} = {number * 7919}\n" for number in range(300))
    wheel = make_wheel("toy-zoo", "1.0", {**FILES, "toy_zoo/large.py": text})
    data = wheel.read_bytes()
    damaged = tmp_path / wheel.name
    chance = random.Random(7)
    for _ in range(120):
        hurt = bytearray(data)
        for _ in range(chance.choice([1, 2, 9])):
            hurt[chance.randrange(len(hurt))] = chance.choice([0, 1, 255, chance.randrange(256)])
        damaged.write_bytes(hurt if chance.random() < 0.9 else data[: chance.randrange(len(data))])
        try:
            entry = store.add([damaged])
        except (UnsafeWheelError, IntegrityError):
            continue
        assert entry.verify() == []  # the damage was in nothing that is unpacked
        store.remove(entry)
    assert not list((store.path / "unpacking").iterdir())
