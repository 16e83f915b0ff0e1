"""A wheel is somebody else's file: whatever its members are called or is broken in it, nothing gets past the store."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import IntegrityError, UnsafeWheelError
from app_loader.store import Store

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
