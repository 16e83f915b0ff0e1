"""A save that fails leaves what was there; nothing half-written is ever seen."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mpt_format import (
    ArchiveContent,
    ArchiveWriteError,
    BytesPayload,
    CodeRecord,
    MalformedDocumentError,
    ModuleState,
    MptError,
    StoredTensor,
    UnstorableStateError,
    open_archive,
    write_archive,
)


def content(fill: int = 1, size: int = 1000, **fields: object) -> ArchiveContent:
    payload = BytesPayload(dtype="U8", shape=(size,), data=bytes([fill]) * size)
    state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
    return ArchiveContent(state=state, **fields)  # type: ignore[arg-type]


def test_a_new_save_replaces_the_old_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.mpt"
    write_archive(path, content(1))
    with open_archive(path) as old:
        write_archive(path, content(2))
        assert old.read_tensor_bytes("x") == b"\x01" * 1000  # an open archive keeps the bytes it was opened with
    with open_archive(path) as new:
        assert new.read_tensor_bytes("x") == b"\x02" * 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.mpt"]


def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.mpt"
    before = write_archive(path, content(1)).path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(ArchiveWriteError) as caught:
            write_archive(path, content(2, 5 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.mpt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.mpt"
    before = write_archive(path, content(1)).path.read_bytes()
    write = os.write
    taken = 0

    def full(fd: int, data: bytes) -> int:
        nonlocal taken
        taken += len(data)
        if taken > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ArchiveWriteError) as caught:
        write_archive(path, content(2, 50_000))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.mpt"]


@pytest.mark.parametrize("where", ["missing/run.mpt", "file/run.mpt"])
def test_a_folder_that_is_none_is_named(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveWriteError) as caught:
        write_archive(tmp_path / where, content())
    assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)
    assert caught.value.path == str(tmp_path / where)


def test_a_read_only_folder_is_refused_in_a_process_without_privileges(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "run.mpt").write_bytes(b"old")
    folder.chmod(0o555)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    script = textwrap.dedent("""
        import os, sys
        from mpt_format import *
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)  # root would be let in
        payload = BytesPayload(dtype="U8", shape=(1,), data=b"x")
        state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
        try:
            write_archive(sys.argv[1], ArchiveContent(state=state))
        except ArchiveWriteError as error:
            print(error.errno)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "run.mpt")], capture_output=True, text=True, check=False
    )
    folder.chmod(0o755)
    assert done.stdout.strip() == str(errno.EACCES), done.stderr
    assert (folder / "run.mpt").read_bytes() == b"old"


def test_a_payload_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    class Broken(BytesPayload):
        def pieces(self) -> Iterator[memoryview]:
            yield memoryview(b"ab")
            raise RuntimeError("the device fell off")

    state = ModuleState(tensors={"x": StoredTensor(payload=Broken(dtype="U8", shape=(4,), data=b""), kind="buffer")})
    with pytest.raises(RuntimeError):
        write_archive(tmp_path / "run.mpt", ArchiveContent(state=state))
    assert not list(tmp_path.iterdir())


def test_a_payload_of_another_size_is_refused(tmp_path: Path) -> None:
    payload = BytesPayload(dtype="U8", shape=(4,), data=b"ab")
    state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
    with pytest.raises(UnstorableStateError):
        write_archive(tmp_path / "run.mpt", ArchiveContent(state=state))
    assert not list(tmp_path.iterdir())


def test_a_save_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    """A few kills at fixed moments; benchmarks/kill_during_save.py does hundreds at random ones."""
    path = tmp_path / "run.mpt"
    script = textwrap.dedent("""
        import os, sys
        from mpt_format import *
        stop, count = int(sys.argv[2]), 0
        def at(name):
            original = getattr(os, name)
            def step(*args, **options):
                global count
                count += 1
                if count == stop:
                    os.kill(os.getpid(), 9)
                return original(*args, **options)
            setattr(os, name, step)
        for name in ("write", "pwrite", "fsync", "ftruncate", "link", "replace", "rename", "open", "close"):
            at(name)
        payload = BytesPayload(dtype="U8", shape=(20_000_000,), data=b"n" * 20_000_000)
        state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
        write_archive(sys.argv[1], ArchiveContent(state=state))
        print(count)
    """)
    old = write_archive(path, content(1)).sha256
    calls = 0
    for stop in (1, 2, 4, 7, 9, 10, 11, 12, 13, 14, 15, 999):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), str(stop)], capture_output=True, text=True, check=False
        )
        with open_archive(path) as archive:
            archive.verify("full")
            assert archive.read_tensor_bytes("x")[:1] in (b"\x01", b"n")
        if done.returncode == 0:
            calls = int(done.stdout)
            assert old != ""
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr
    assert calls >= 12


@pytest.mark.parametrize(
    ("fields", "wheres"),
    [
        ({"training": {"loss": float("inf")}}, ["training['loss']"]),
        ({"requires": {"a": (1,)}, "lineage": {"b": {3}}}, ["requires['a']", "lineage['b']"]),
        ({"witness_spec": {"seed": 1}}, ["witness"]),
        ({"trainer_documents": {"Not A Name": 1}}, ["trainer/'Not A Name'"]),
        ({"architecture": {"kind": "x"}}, ["policy_architecture.yaml"]),
        ({"code": CodeRecord(distribution="a", version="1", diff_member="source.diff")}, ["code.diff_member"]),
        ({"code": CodeRecord(distribution="a", version="1", wheel_sha256="abc")}, ["manifest.json: code.wheel_sha256"]),
        ({"source_diff": bytes((64 << 20) + 1)}, ["source.diff"]),
    ],
)
def test_what_could_not_be_read_back_is_refused_before_writing(
    fields: dict[str, object], wheres: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UnstorableStateError) as caught:
        write_archive(tmp_path / "run.mpt", content(**fields))  # type: ignore[arg-type]
    assert [problem.where for problem in caught.value.problems] == wheres
    assert not list(tmp_path.iterdir())


def test_yaml_text_with_an_anchor_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(MalformedDocumentError):
        write_archive(tmp_path / "run.mpt", content(architecture="kind: &a x\nschema_version: 1\nconfig: {}\n"))
    assert not list(tmp_path.iterdir())


def test_the_exact_yaml_text_is_kept(tmp_path: Path) -> None:
    text = "# a remark\nkind: mlp\nschema_version: 1\nconfig: {rate: 1.0e-05, names: [a, 'yes']}\n"
    path = write_archive(tmp_path / "run.mpt", content(architecture=text)).path
    with open_archive(path) as archive:
        assert archive.architecture_text == text
        assert archive.architecture == {
            "kind": "mlp",
            "schema_version": 1,
            "config": {"rate": 1e-5, "names": ["a", "yes"]},
        }


def test_many_writers_and_readers_of_one_path_see_whole_archives(tmp_path: Path) -> None:
    path = tmp_path / "run.mpt"
    write_archive(path, content(0, 100_000))

    def work(number: int) -> None:
        for _ in range(5):
            write_archive(path, content(number, 100_000))
            with open_archive(path) as archive:
                archive.verify("full")
                assert len(set(archive.read_tensor_bytes("x"))) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(1, 5)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.mpt"]


def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "run.mpt", content()).path
    (tmp_path / "bad.mpt").write_bytes(path.read_bytes()[:-1])
    for is_enabled in (False, True):
        (gc.enable if is_enabled else gc.disable)()
        with open_archive(path) as archive:
            archive.read_tensors()
        with pytest.raises(MptError):
            open_archive(tmp_path / "bad.mpt")
        assert gc.isenabled() is is_enabled


def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = write_archive(tmp_path / "run.mpt", content()).path
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_system_without_nameless_files_is_written_to_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = write_archive(tmp_path / "run.mpt", content(1)).path
    with open_archive(path) as archive:
        archive.verify("full")
    with pytest.raises(UnstorableStateError):
        payload = BytesPayload(dtype="U8", shape=(4,), data=b"ab")
        state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
        write_archive(path, ArchiveContent(state=state))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.mpt"]
