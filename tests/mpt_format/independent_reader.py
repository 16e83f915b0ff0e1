"""A second reader of the format, written from docs/format.md alone: standard library and numpy, nothing of ours."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}  # fmt: skip  # 5.3; every other dtype has 8
NUMPY = {"BOOL": "?", "I8": "i1", "F16": "<f2", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "F32": "<f4",
         "C64": "<c8", "F64": "<f8", "I64": "<i8", "U64": "<u8"}  # fmt: skip  # numpy lacks the others: plain bytes


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, bytes], dict[str, np.ndarray[Any, Any]]]:
    """Return the manifest, the members' bytes, and every state dict key's values."""
    with zipfile.ZipFile(path) as container:  # 3.1: names, positions, checksums
        infos = container.infolist()
        members = {info.filename: container.read(info) for info in infos}
    manifest = json.loads(members["manifest.json"])
    assert infos[0].filename == "manifest.json"
    assert manifest["min_reader"] <= 1, "unsupported"  # 2
    assert list(members)[1:] == list(manifest["members"])  # 6.2
    assert all(info.compress_type == 0 and info.date_time[:3] == (1980, 1, 1) for info in infos)  # 3.2
    for name, record in manifest["members"].items():
        assert len(members[name]) == record["size_bytes"]
        assert name == "weights.safetensors" or hashlib.sha256(members[name]).hexdigest() == record["sha256"]  # 6.3
    tensors = read_weights(members.get("weights.safetensors", b""), manifest["tensors"])
    for key, alias in manifest["aliases"].items():  # 6.2
        view = alias.get("view")
        tensors[key] = tensors[alias["canonical"]]
        if view is not None:
            dtype = np.dtype(NUMPY.get(view["dtype"], "u1"))
            base = np.frombuffer(tensors[key].tobytes()[view["offset_bytes"] :], "u1")
            strides = [step * dtype.itemsize for step in view["stride"]]
            tensors[key] = np.ndarray(view["shape"], dtype, base, strides=strides)
    kinds = {key: record["kind"] for key, record in manifest["tensors"].items()}
    return manifest, members, {key: value for key, value in tensors.items() if kinds.get(key) != "storage"}


def read_weights(data: bytes, records: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Lay the tensors out as 5.2 says, compare the header, and cut the buffer."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end, tensors = 0, {}
    bits = {key: BITS.get(record["dtype"], 8) for key, record in records.items()}
    for key in sorted(bits, key=lambda key: (prod(records[key]["shape"]) * bits[key] % 512 != 0, -bits[key], key)):
        dtype, shape = records[key]["dtype"], records[key]["shape"]
        begin, end = end, end + prod(shape) * BITS.get(dtype, 8) // 8
        entries[key] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    assert not records or data[: 8 + len(text)] == struct.pack("<Q", len(text)) + text
    for key, record in records.items():
        begin, end = (8 + len(text) + offset for offset in entries[key]["data_offsets"])
        assert hashlib.sha256(data[begin:end]).hexdigest() == record["sha256"]
        values = np.frombuffer(data[begin:end], NUMPY.get(record["dtype"], "u1"))
        tensors[key] = values.reshape(record["shape"]) if values.size == prod(record["shape"]) else values
    return tensors
