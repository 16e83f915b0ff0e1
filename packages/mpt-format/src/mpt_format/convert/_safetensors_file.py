"""Writing a safetensors file from payloads: one pass, big elements first, the conversion's account in one metadata key.

Refuses nothing of its own; names and sizes were judged before.

Source: the safetensors format: 8 bytes little-endian header length, JSON, the tensor buffer.
"""

from __future__ import annotations

__all__ = ["read_account", "read_tensor_digests", "write_safetensors"]

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from mpt_format.dtypes import BITS
from mpt_format.payload import TensorPayload
from mpt_format.replacing import replacing_file
from mpt_format.strict_json import Json

_PIECE = 8 << 20
_LONGEST_HEADER = 100_000_000
"""Bytes of a header; the format's own library reads no longer one."""


def write_safetensors(path: Path, tensors: Mapping[str, TensorPayload], account: Mapping[str, Json]) -> int:
    """Write the file through a temporary one and return its size in bytes.

    Args:
        path: The target; what stands there is replaced at the end.
        tensors: Name -> payload.
        account: What the metadata key `mpt_conversion` says, as JSON text.

    Raises:
        ArchiveWriteError: The file system refused.
    """
    header: dict[str, object] = {"__metadata__": {"mpt_conversion": json.dumps(account, ensure_ascii=True)}}
    ordered = sorted(tensors, key=lambda name: (-BITS[tensors[name].dtype], name))
    at = 0
    for name in ordered:
        payload = tensors[name]
        size = BITS[payload.dtype] // 8
        for length in payload.shape:
            size *= length
        header[name] = {"dtype": payload.dtype, "shape": list(payload.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(len(text) + 8) % 64)
    with replacing_file(path) as descriptor:
        _write(descriptor, len(text).to_bytes(8, "little") + text)
        for name in ordered:
            for piece in tensors[name].pieces():
                _write(descriptor, piece)
    return 8 + len(text) + at


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def read_tensor_digests(path: Path) -> dict[str, str]:
    """Name -> sha256 of the tensor's bytes, read back from a file that `write_safetensors` wrote."""
    digests = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            digest = hashlib.sha256()
            left = end - begin
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    break
                digest.update(piece)
                left -= len(piece)
            digests[name] = digest.hexdigest()
    return digests


def read_account(path: Path) -> Json:
    """What `write_safetensors` was told of the conversion; None where another program wrote the file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        account: Json = json.loads(header["__metadata__"]["mpt_conversion"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return account
