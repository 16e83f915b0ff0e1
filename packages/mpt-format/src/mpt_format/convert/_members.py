"""Sources without pickle: safetensors files and archives made of them; and the plain JSON beside other sources.

Source: the safetensors format; the predecessor's `.mpt` (a DEFLATED zip of weights.safetensors and
modelarchitecture.txt); stable-baselines3's `save_util.py` for the JSON member `data`.
"""

from __future__ import annotations

__all__ = ["find_tensor_member", "open_member", "read_plain_documents"]

import json
from typing import Any

from mpt_format.audit._container import Container
from mpt_format.audit._containers import open_container
from mpt_format.audit._limits import Limits
from mpt_format.audit._machine import Buffer
from mpt_format.audit._tensors import StorageRecord, TensorRecord
from mpt_format.audit._zip import STORED, unpack_member
from mpt_format.dtypes import BITS
from mpt_format.errors import ConversionError
from mpt_format.strict_json import Json

from ._source import Source, SourceTensor
from ._tensor_bytes import FORMAT_DTYPES, row_major_stride
from ._values import ValueConverter

_TORCH_DTYPES = {name: dtype for dtype, name in FORMAT_DTYPES.items()}


def find_tensor_member(data: Buffer, container: Container, limits: Limits) -> tuple[Source, Buffer]:
    """The tensors of a safetensors file or member, and the bytes they lie in.

    Raises:
        ConversionError: The member cannot be read, or has a dtype that is not known.
    """
    buffer, base = data, 0
    if container.directory is not None:
        member = container.directory.get_first("weights.safetensors")
        if member is None:
            raise ConversionError("the archive has no weights.safetensors")
        if member.method == STORED:
            base = member.data_offset
        else:
            content, reason = unpack_member(data, member, limits)
            if content is None:
                raise ConversionError(f"weights.safetensors cannot be read: {reason}")
            buffer = content
    length = int.from_bytes(buffer[base : base + 8], "little")
    header = json.loads(buffer[base + 8 : base + 8 + length].decode("utf-8"))
    source = Source(path="root")
    start = base + 8 + length
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if dtype not in _TORCH_DTYPES:
            raise ConversionError(f"tensor {name!r} has dtype {dtype}, which is not known")
        container.storages[name] = (start + begin, end - begin)
        item = BITS[dtype] // 8
        storage = StorageRecord(
            key=name, dtype=_TORCH_DTYPES[dtype], item_size_bytes=item, length=(end - begin) // item, location="cpu"
        )
        record = TensorRecord(
            kind="dense", dtype=_TORCH_DTYPES[dtype], shape=shape, stride=row_major_stride(shape), storage=storage
        )
        source.tensors.append(SourceTensor(key=name, path=f"root[{name!r}]", record=record))
    return source, buffer


def open_member(data: Buffer, container: Container, name: str, limits: Limits) -> tuple[Buffer, Container] | None:
    """A file inside the archive, and what it is; None where there is none or it cannot be read."""
    member = container.directory.get_first(name) if container.directory is not None else None
    content = None if member is None else unpack_member(data, member, limits)[0]
    return None if content is None else (content, open_container(content, limits, name=name, nesting=1))


def read_plain_documents(data: Buffer, container: Container, limits: Limits, values: ValueConverter) -> dict[str, Json]:
    """Plain data that stands beside the weights: the predecessor's architecture text, stable-baselines3's JSON."""
    documents: dict[str, Json] = {}
    if container.directory is None:
        return documents
    if container.kind == "ancestor-mpt":
        text = _read_text(data, container, "modelarchitecture.txt", limits)
        if text is not None:
            documents["modelarchitecture"] = text
            values.lose("modelarchitecture.txt", "an architecture as text that names classes", "the text, not read")
    if container.kind == "sb3-zip":
        text = _read_text(data, container, "data", limits)
        if text is not None:
            documents["data"] = _without_pickles(json.loads(text), "data", values)
        version = _read_text(data, container, "_stable_baselines3_version", limits)
        if version is not None:
            documents["stable_baselines3"] = version.strip()
    return documents


def _read_text(data: Buffer, container: Container, name: str, limits: Limits) -> str | None:
    assert container.directory is not None
    member = container.directory.get_first(name)
    if member is None:
        return None
    content, _ = unpack_member(data, member, limits)
    return None if content is None else content[:].decode("utf-8", "replace")


def _without_pickles(value: Any, path: str, values: ValueConverter) -> Json:
    """JSON without the entries that hold a pickle; each is a loss."""
    if isinstance(value, dict):
        if ":serialized:" in value:
            values.lose(path, f"a pickled {value.get(':type:', 'object')}", "left out")
            return None
        return {str(key): _without_pickles(inner, f"{path}[{key!r}]", values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_pickles(inner, f"{path}[{at}]", values) for at, inner in enumerate(value)]
    if isinstance(value, float) and value - value != 0:
        values.lose(path, f"the float {value}", "text")
        return repr(value)
    return value  # type: ignore[no-any-return]
