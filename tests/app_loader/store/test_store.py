"""The store: entries appear whole or not at all, once, and what no wheel of pure modules holds is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from app_loader import import_isolated
from app_loader.errors import IntegrityError, IsolationError, NativeCodeError, UnsafeWheelError, VersionNotStoredError
from app_loader.store import Entry, Store
from filelock import FileLock

AddVersions = Callable[..., dict[str, Entry]]
MakeWheel = Callable[..., Path]

FILES = {"toy_zoo/__init__.py": "answer = 1", "toy_zoo/data.bin": b"\x00\x01"}


def test_an_entry_is_described_by_its_metadata_without_importing(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    wheel = make_wheel(
        "Toy-Zoo",
        "1.0",
        {"toy_zoo/__init__.py": f"open({str(marker)!r}, 'w').close()"},
        requires=("torch>=2", "policy-interface>=1,<2"),
        entry_points="[policy_interface.architectures]\nMLP = toy_zoo.nets:Mlp\n[other]\na = b:c\n",
    )
    entry = store.add([wheel], provenance={"kind": "wheel"})
    assert (entry.distribution, entry.version, entry.top_levels) == ("Toy-Zoo", "1.0", ("toy_zoo",))
    assert entry.requires == ("torch>=2", "policy-interface>=1,<2")
    assert entry.entry_points("policy_interface.architectures") == {"MLP": "toy_zoo.nets:Mlp"}
    assert entry.entry_points("nothing") == {}
    assert entry.digest == entry.wheels[0].sha256
    assert entry.provenance == {"kind": "wheel"}
    assert not marker.exists()


def test_an_entry_is_read_only_and_verifies(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", FILES)])
    assert entry.verify() == []
    modes = [path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) for path in entry.path.rglob("*")]
    assert not any(modes)


def test_an_entry_whose_name_another_digest_has_is_refused(make_wheel: MakeWheel, store: Store) -> None:
    wheel = make_wheel("toy-zoo", "1.0", FILES)
    entry = store.add([wheel])
    described = entry.folder / "entry.json"
    other = entry.digest[:-1] + ("0" if entry.digest[-1] != "0" else "1")  # as only 2**32 tries would make one
    entry.folder.chmod(0o755)
    text = described.read_text().replace(entry.digest, other)
    described.unlink()
    described.write_text(text)
    with pytest.raises(IsolationError) as caught:
        store.add([wheel])
    assert (caught.value.subject, store.entries()[0].digest) == ("toy-zoo 1.0", other)


def test_verifying_names_every_change(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", FILES)])
    for path in [entry.path, *entry.path.rglob("*")]:
        path.chmod(0o755)
    (entry.path / "toy_zoo" / "data.bin").write_bytes(b"other")
    (entry.path / "toy_zoo" / "__init__.py").unlink()
    (entry.path / "toy_zoo" / "new.py").write_text("")
    problems = entry.verify()
    assert len(problems) == 3
    with pytest.raises(IntegrityError) as caught:
        store.check(entry)
    assert caught.value.problems == tuple(problems)


def test_entries_are_found_by_any_spelling_version_and_digest(make_wheel: MakeWheel, store: Store) -> None:
    entries = [store.add([make_wheel("Toy-Zoo", text, FILES)]) for text in ("1.0", "1.10", "1.9")]
    assert [entry.version for entry in store.entries()] == ["1.0", "1.9", "1.10"]
    assert store.find("toy_zoo") == entries[1]
    assert store.find("toy.zoo", "1.9.0") == entries[2]
    assert store.find("toy-zoo", digest=entries[0].digest[:10]) == entries[0]
    assert store.find("toy-zoo", "2.0") is None
    assert store.find("other") is None


def test_a_version_that_is_not_stored_is_named_with_the_next_command(store: Store) -> None:
    with pytest.raises(VersionNotStoredError) as caught:
        import_isolated("toy-zoo==4.2", "toy_zoo", store=store)
    assert (caught.value.distribution, caught.value.store) == ("toy-zoo", str(store.path))
    assert "mpt zoo add" in caught.value.next_command


def test_the_newest_version_that_a_requirement_accepts_is_imported(make_wheel: MakeWheel, store: Store) -> None:
    for text in ("1.0", "1.9", "2.0"):
        store.add([make_wheel("toy-zoo", text, {"toy_zoo.py": f"answer = {text!r}"})])
    assert import_isolated("toy_zoo<2", store=store).answer == "1.9"
    assert import_isolated("toy-zoo", "toy_zoo", store=store).answer == "2.0"


def test_removing_what_another_process_removed_is_no_error(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": ""})])
    store.remove(entry)
    store.remove(entry)
    assert store.entries() == []


def test_an_entry_that_is_not_complete_is_none(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo.py": ""})])
    (entry.folder.parent / "half").mkdir()
    (entry.folder.parent / "no_folder").write_text("")
    assert [each.digest for each in store.entries()] == [entry.digest]


def test_removing_an_entry_leaves_nothing_of_it(make_wheel: MakeWheel, store: Store) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", FILES)])
    entry.import_module("toy_zoo")
    store.remove(entry)
    assert store.entries() == []
    assert not [path for path in store.path.rglob("*") if path.is_file() and "locks" not in path.parts]


def hostile(tmp_path: Path, good: Path, member: str, data: bytes = b"x", *, link: bool = False) -> Path:
    path = tmp_path / good.name
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(member)
        info.compress_type = zipfile.ZIP_DEFLATED
        if link:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "member",
    ["../evil.py", "/etc/evil.py", "a/../../evil.py", "C:/evil.py", "a\\..\\evil.py", "evil.pth", "unpinned.py"],
)
def test_a_wheel_with_a_file_that_no_build_writes_is_refused(
    make_wheel: MakeWheel, store: Store, tmp_path: Path, member: str
) -> None:
    with pytest.raises(UnsafeWheelError) as caught:
        store.add([hostile(tmp_path, make_wheel("toy-zoo", "1.0", FILES), member)])
    assert caught.value.problems
    assert not list(tmp_path.rglob("evil*"))
    assert store.entries() == []


def test_a_wheel_with_a_link_a_bomb_or_a_double_is_refused(make_wheel: MakeWheel, store: Store, tmp_path: Path) -> None:
    good = make_wheel("toy-zoo", "1.0", FILES)
    for wheel in (
        hostile(tmp_path, good, "link.py", b"/etc/passwd", link=True),
        hostile(tmp_path, good, "bomb.py", b"\0" * (8 * 1024**2)),
        hostile(tmp_path, good, "TOY_ZOO/__init__.py"),
    ):
        with pytest.raises(UnsafeWheelError):
            store.add([wheel])


def test_a_file_that_record_pins_otherwise_is_refused_and_nothing_is_stored(
    make_wheel: MakeWheel, store: Store
) -> None:
    with pytest.raises(IntegrityError) as caught:
        store.add([make_wheel("toy-zoo", "1.0", FILES, false_digest="toy_zoo/__init__.py")])
    assert "toy_zoo/__init__.py" in caught.value.problems[0]
    assert store.entries() == []
    assert not list((store.path / "unpacking").iterdir())


def test_what_is_no_wheel_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "no.whl").write_bytes(b"no zip at all")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    for name in ("no.whl", "empty.whl", "absent.whl"):
        with pytest.raises(UnsafeWheelError):
            store.add([tmp_path / name])


def test_two_wheels_with_one_file_do_not_make_a_unit(make_wheel: MakeWheel, store: Store) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel("toy-zoo", "1.0", FILES), make_wheel("other", "1.0", FILES)])


def test_four_processes_filling_one_empty_store_end_with_one_entry(make_wheel: MakeWheel, store: Store) -> None:
    files = {f"toy_zoo/m{i}.py": "answer = 1\n" * 200 for i in range(40)} | FILES
    wheel = make_wheel("toy-zoo", "1.0", files)
    program = (
        "import sys\nfrom app_loader.store import Store\n"
        "entry = Store(sys.argv[1]).add([sys.argv[2]])\n"
        "print(entry.identifier, entry.import_module('toy_zoo').answer, entry.verify())"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", program, str(store.path), str(wheel)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0, 0]
    assert len(set(answers)) == 1
    assert len(list((store.path / "entries").iterdir())) == 1
    assert not list((store.path / "unpacking").iterdir())


def test_all_who_wait_have_the_entry_when_its_lock_is_let_go(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 1"})
    other = Store(tmp_path / "other")
    made = other.add([wheel])
    lock = _lock_of(store, made)
    with ThreadPoolExecutor(8) as pool:
        with FileLock(lock):  # another process is at it
            waiting = [pool.submit(store.add, [wheel]) for _ in range(8)]
            shutil.copytree(other.path / "entries", store.path / "arriving")
            (store.path / "arriving").rename(store.path / "entries")
            arrived = made.identifier, (store.path / "entries" / made.identifier).stat().st_ino
        found = [each.result() for each in waiting]
    assert {(entry.identifier, entry.folder.stat().st_ino) for entry in found} == {arrived}


def test_when_the_one_who_adds_is_killed_one_of_those_who_wait_adds(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 1"})
    lock = _lock_of(store, Store(tmp_path / "other").add([wheel]))
    program = (
        "import sys\nfrom filelock import FileLock\nwith FileLock(sys.argv[1]): print(flush=True), sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(store.add, [wheel]) for _ in range(4)]
        holder.kill()
        holder.communicate()
        assert [each.result().verify() for each in waiting] == [[]] * 4
    assert len(store.entries()) == 1
    assert not list((store.path / "unpacking").iterdir())


def test_everything_is_on_the_disk_before_an_entry_appears(
    make_wheel: MakeWheel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, bool(store.entries())))

    monkeypatch.setattr(os, "fsync", watched)
    entry = store.add([make_wheel("toy-zoo", "1.0", FILES)])
    below = {path.stat().st_ino for path in (entry.folder, *entry.folder.rglob("*"))}
    assert {inode for inode, appeared in synced if not appeared} == below
    assert synced[-1] == (entry.folder.parent.stat().st_ino, True)


def _lock_of(store: Store, entry: Entry) -> Path:
    lock = store.path / "locks" / f"{entry.digest[:16]}.lock"
    lock.parent.mkdir(parents=True)
    return lock


def test_the_same_companions_in_another_order_are_the_same_entry(make_wheel: MakeWheel, store: Store) -> None:
    main, *companions = [make_wheel(f"toy-{name}", "1.0", {f"toy_{name}.py": ""}) for name in ("zoo", "a", "b")]
    assert store.add([main, *companions]) == store.add([main, *reversed(companions)])
    assert len(store.entries()) == 1


def test_a_killed_unpacking_leaves_no_entry_and_does_not_stand_in_the_way(make_wheel: MakeWheel, store: Store) -> None:
    wheel = make_wheel("toy-zoo", "1.0", FILES)
    program = (
        "import os, sys\nfrom app_loader.store import Store, store\n"
        "store.scan_files = lambda *a: os._exit(9)\nStore(sys.argv[1]).add([sys.argv[2]])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.path), str(wheel)], env={**os.environ})
    assert done.returncode == 9
    assert store.entries() == []
    assert store.add([wheel]).verify() == []


def test_the_scan_reports_what_belongs_to_the_process(make_wheel: MakeWheel, store: Store) -> None:
    source = """
import importlib, os, sys
import torch
torch.set_default_dtype(torch.float64)
os.environ["A"] = "1"
sys.modules["other"] = None
importlib.import_module("toy_zoo.late")
@torch.library.custom_op("toy::op", mutates_args=())
def op(x: torch.Tensor) -> torch.Tensor: ...
"""
    entry = store.add(
        [make_wheel("toy-zoo", "1.0", {"toy_zoo/__init__.py": source, "toy_zoo/bad.py": "sys.modules ("})]
    )
    scan = entry.scan
    assert [(each.table, each.name, each.line) for each in scan.registrations] == [("operator", "toy::op", 8)]
    assert [each.line for each in scan.module_table] == [6]
    assert [each.line for each in scan.self_names] == [7]
    assert [each.line for each in scan.changes] == [4, 5]
    assert scan.unreadable == ("toy_zoo/bad.py",)
    assert json.loads((entry.folder / "entry.json").read_text())["scan"] == json.loads(json.dumps(scan.to_document()))


def test_a_leading_tilde_means_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPT_STORE", "~/wheels")
    assert Store().path == tmp_path / "wheels"
    assert Store("~/other").path == tmp_path / "other"


@pytest.mark.parametrize("start", [b"\x7fELF\x02\x01", b"\xcf\xfa\xed\xfe\x07", b"!<arch>\nobject"])
def test_native_code_under_another_name_is_refused_before_anything_is_loaded(
    make_wheel: MakeWheel, store: Store, tmp_path: Path, start: bytes
) -> None:
    mark = tmp_path / "ran"
    source = f"import ctypes\nopen({str(mark)!r}, 'w').close()\nctypes.CDLL('toy_zoo/kernels.bin')\n"
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo/__init__.py": source, "toy_zoo/kernels.bin": start})])
    assert entry.scan.native == ("toy_zoo/kernels.bin",)
    assert [each.text for each in entry.scan.changes] == ["CDLL: a native library"]
    with pytest.raises(NativeCodeError):
        entry.import_module("toy_zoo")
    assert not mark.exists()


def test_a_program_that_a_wheel_only_starts_is_no_native_code_of_this_process(
    make_wheel: MakeWheel, store: Store
) -> None:
    entry = store.add([make_wheel("toy-zoo", "1.0", {"toy_zoo/__init__.py": "", "toy_zoo/program": b"\x7fELF\x02"})])
    assert entry.scan.native == ()
    entry.import_module("toy_zoo")
