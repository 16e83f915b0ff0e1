"""Archives and safetensors files of any size that take no space: their tensors are holes of zeros."""

from __future__ import annotations

import os
from pathlib import Path

from mpt_format.manifest import Manifest
from mpt_format.records import MemberRecord, TensorRecord
from mpt_format.tensor_header import BufferLayout
from mpt_format.zip_writer import ZipWriter


class _SparseWriter(ZipWriter):
    def skip(self, fd: int, size_bytes: int) -> None:
        self._position = os.lseek(fd, size_bytes, os.SEEK_CUR)


def write_sparse_archive(path: Path, sizes: dict[str, int]) -> None:
    """Write an archive of byte tensors of the given sizes; its digests are blank."""
    laid = BufferLayout((name, "U8", (size,)) for name, size in sizes.items())
    records = {
        name: TensorRecord(name=name, dtype="U8", shape=(size,), kind="parameter", sha256="0" * 64)
        for name, size in sizes.items()
    }
    manifest = Manifest(members={"weights.safetensors": MemberRecord(size_bytes=laid.size_bytes)}, tensors=records)
    text = manifest.to_json()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    writer = _SparseWriter(fd)
    writer.begin_member("manifest.json", len(text))
    writer.write(text)
    writer.end_member(0)
    writer.begin_member("weights.safetensors", laid.size_bytes)
    writer.write(laid.header)
    writer.skip(fd, laid.size_bytes - len(laid.header))
    writer.end_member(0)
    writer.finish()
    os.close(fd)


def write_sparse_safetensors(path: Path, sizes: dict[str, int]) -> None:
    """Write a safetensors file of byte tensors of the given sizes."""
    laid = BufferLayout((name, "U8", (size,)) for name, size in sizes.items())
    with path.open("wb") as stream:
        stream.write(laid.header)
        stream.truncate(laid.size_bytes)
