"""Beyond 4 GiB: ZIP64 sizes and offsets, with sparse files that take no space."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from mpt_format import BytesPayload, open_archive
from mpt_format.manifest import Manifest
from mpt_format.records import MemberRecord, TensorRecord
from mpt_format.tensor_header import BufferLayout
from mpt_format.zip_writer import ZipWriter

GIB = 1 << 30


class SparseWriter(ZipWriter):
    """Leaves holes where the data would be zeros."""

    def skip(self, fd: int, size_bytes: int) -> None:
        self._position = os.lseek(fd, size_bytes, os.SEEK_CUR)


def write_sparse(path: Path, sizes: dict[str, dict[str, int]]) -> None:
    """Write an archive whose safetensors members hold zeros: member -> tensor name -> bytes."""
    laid = {
        name: BufferLayout((tensor, "U8", (size,)) for tensor, size in tensors.items())
        for name, tensors in sizes.items()
    }
    manifest = Manifest(
        members={
            name: MemberRecord(size_bytes=layout.size_bytes, sha256=None if name.startswith("weights") else "0" * 64)
            for name, layout in laid.items()
        },
        tensors={
            name: TensorRecord(name=name, dtype="U8", shape=(size,), kind="buffer", sha256="0" * 64)
            for name, size in sizes["weights.safetensors"].items()
        },
    )
    text = manifest.to_json()
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    writer = SparseWriter(fd)
    writer.begin_member("manifest.json", len(text))
    writer.write(text)
    writer.end_member(0)
    for name, layout in laid.items():
        writer.begin_member(name, layout.size_bytes)
        writer.write(layout.header)
        writer.skip(fd, layout.size_bytes - len(layout.header))
        writer.end_member(0)
    writer.finish()
    os.close(fd)


def test_a_member_beyond_four_gib_and_tensors_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "large.mpt"
    write_sparse(path, {"weights.safetensors": {"a": 3 * GIB, "b": 3 * GIB, "c": 100}})
    assert path.stat().st_blocks * 512 < 1 << 20
    with open_archive(path) as archive:
        archive.verify("quick")
        assert archive.members["weights.safetensors"].size_bytes > 6 * GIB
        tensors = archive.read_tensors()
    assert tensors["c"].sum() == 0
    assert tensors["b"][-1] == 0
    tensors["b"][-1] = 7
    assert tensors["c"][0] == 0


def test_a_member_that_begins_beyond_four_gib(tmp_path: Path) -> None:
    path = tmp_path / "far.mpt"
    write_sparse(path, {"trainer/adam.safetensors": {"m": 5 * GIB}, "weights.safetensors": {"a": 10}})
    with open_archive(path) as archive:
        archive.verify("quick")
        assert archive.members["weights.safetensors"].offset > 5 * GIB
        assert archive.read_tensors()["a"].shape == (10,)


@pytest.mark.parametrize("size", [0xFFFFFFFF - 1, 0xFFFFFFFF, 0xFFFFFFFF + 1])
def test_the_edge_of_four_gib(size: int, tmp_path: Path) -> None:
    path = tmp_path / "edge.mpt"
    header = len(BufferLayout([("a", "U8", (size,))]).header)
    write_sparse(path, {"weights.safetensors": {"a": size - header}})
    with open_archive(path) as archive:
        archive.verify("quick")
        assert archive.members["weights.safetensors"].size_bytes == size


def test_opening_reads_kilobytes_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.mpt"
    write_sparse(path, {"weights.safetensors": {"a": 8 * GIB}})
    read: list[int] = []
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    with open_archive(path) as archive:
        archive.verify("quick")
    assert sum(read) < 16_384


def test_many_thousand_tensors_are_one_member(tmp_path: Path) -> None:
    from mpt_format import ArchiveContent, ModuleState, StoredTensor, write_archive

    payload = BytesPayload(dtype="U8", shape=(1,), data=b"x")
    stored = StoredTensor(payload=payload, kind="buffer")
    state = ModuleState(tensors={f"layer.{i}": stored for i in range(20_000)})
    path = write_archive(tmp_path / "many.mpt", ArchiveContent(state=state)).path
    with open_archive(path) as archive:
        assert len(archive.tensors) == 20_000
        assert archive.read_tensor_bytes("layer.19999") == b"x"
        assert replace(archive.manifest).content_digest == archive.manifest.content_digest
