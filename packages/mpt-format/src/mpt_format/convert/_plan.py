"""From source tensors to what is stored: payloads, aliases, views, and what cannot be converted.

Tensors that show the same bytes of one storage become aliases, as torch would tie them again; overlapping views become
views of one stored tensor. What has no bytes of its own (sparse, quantized, meta, conjugated) is refused by path.

Source: the archive's alias rules, `mpt_format.records.AliasRecord` and `ViewRecord`.
"""

from __future__ import annotations

__all__ = ["Plan", "find_parameters", "locate_tensor", "plan_tensors", "read_numbers"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import cast

from mpt_format.audit._container import Container
from mpt_format.audit._machine import Buffer
from mpt_format.audit._tensors import TensorRecord
from mpt_format.dtypes import BITS
from mpt_format.module_state import StoredTensor
from mpt_format.payload import BytesPayload
from mpt_format.records import AliasRecord, TensorKind, ViewRecord
from mpt_format.strict_json import Json

from ._arrays import NUMBER_FORMATS, Array
from ._source import SourceTensor
from ._tensor_bytes import (
    CARRIED_DTYPES,
    FORMAT_DTYPES,
    RecordPayload,
    extent_elements,
    find_excess,
    is_row_major,
    row_major_stride,
)

_NOT_DENSE = {
    "sparse": "a sparse tensor: save value.to_dense(), or drop it",
    "quantized": "a quantized tensor: save value.dequantize(), or drop it",
    "meta": "a meta tensor has no data: drop it",
    "nested": "a nested tensor: save the list of its parts, value.unbind(), or drop it",
    "wrapper": "a tensor subclass whose parts are no tensors of their own: save value.full_tensor() of a DTensor, "
    "a dense copy of others",
}
"""Kind of a tensor without plain bytes -> what to do about it."""
_MAX_EXPANDED_BYTES = 64 << 20
"""An expanded tensor may show so many bytes of a smaller record; digests are taken of what is shown."""
_SWAPS = {"C64": 4}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """One tensor with its byte extent in a storage."""

    name: str
    source: SourceTensor
    payload: RecordPayload
    storage: str
    begin: int
    end: int


@dataclass(slots=True, kw_only=True)
class Plan:
    """What will be written."""

    stored: dict[str, StoredTensor] = field(default_factory=dict)
    aliases: dict[str, AliasRecord] = field(default_factory=dict)
    every: dict[str, RecordPayload | BytesPayload] = field(default_factory=dict)
    """Every tensor by its own bytes, aliases included: what the output is verified against."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of tensors that cannot be converted."""
    carried: list[tuple[str, str, str]] = field(default_factory=list)
    """Path of tensors whose dtype the archive does not have, that dtype, and what keeps their bytes instead."""


def plan_tensors(data: Buffer, container: Container, tensors: Mapping[str, SourceTensor]) -> Plan:
    """Decide what is stored and what is an alias; names are the new ones."""
    plan = Plan()
    placed: list[_Placed] = []
    for name, tensor in tensors.items():
        if tensor.array is not None:
            assert tensor.array.data is not None
            payload = BytesPayload(dtype=tensor.array.dtype, shape=tensor.array.shape, data=tensor.array.data)
            plan.stored[name] = StoredTensor(payload=payload, kind="buffer")
            plan.every[name] = payload
            continue
        found = _place(data, container, name, tensor)
        if isinstance(found, str):
            plan.problems.append((tensor.path, found))
        else:
            placed.append(found)
            if tensor.record is not None and tensor.record.dtype in CARRIED_DTYPES:
                plan.carried.append((tensor.path, tensor.record.dtype, found.payload.dtype))
    excess = find_excess((one.payload for one in placed), len(data), copies=False)
    if excess is not None:
        plan.problems.append(("root", f"{excess}: save what they show, or drop some"))
    order = {name: at for at, name in enumerate(tensors)}
    by_storage = sorted(placed, key=lambda one: (one.storage, one.begin, one.end))
    for _, group in groupby(by_storage, key=lambda one: one.storage):
        _share(list(group), order, plan)
    for one in placed:
        plan.every[one.name] = one.payload
    plan.stored = dict(sorted(plan.stored.items(), key=lambda item: order.get(item[0], len(order))))
    plan.aliases = dict(sorted(plan.aliases.items(), key=lambda item: order[item[0]]))
    plan.every = {name: plan.every[name] for name in tensors if name in plan.every}
    return plan


def _place(data: Buffer, container: Container, name: str, tensor: SourceTensor) -> _Placed | str:
    record = tensor.record
    assert record is not None
    if record.kind != "dense" or record.storage is None:
        return _NOT_DENSE.get(record.kind, "a tensor of a kind that is not known here: save a dense copy, or drop it")
    if record.metadata:
        return "a conjugated or negated view, whose bytes are not its values: save value.resolve_conj().resolve_neg()"
    storage = record.storage
    dtype = FORMAT_DTYPES.get(record.dtype)
    if dtype is None and record.dtype in CARRIED_DTYPES:
        dtype, record = _carry(record)
    if dtype is None:
        return f"dtype {record.dtype} has no place in safetensors: save it in another dtype, or drop it"
    located = container.storages.get(storage.key)
    if storage.key in container.packed:
        return f"the record of storage {storage.key!r} is compressed: unpack the archive and pack it without (zip -0)"
    if located is None:
        return f"the record of storage {storage.key!r} is missing"
    offset, size = located
    item = BITS[dtype] // 8
    base = 0
    if storage.view is not None:
        base = storage.view[1] * storage.item_size_bytes
    begin = base + record.offset * item
    end = begin + extent_elements(record.shape, record.stride) * item
    shown = item
    for length in record.shape:
        shown *= length
    if shown > max(end - begin, _MAX_EXPANDED_BYTES):
        return f"a view that repeats {end - begin} bytes until they are {shown}: save what it repeats"
    if end > size or begin < 0:
        return f"it reaches to byte {end} of a storage of {size} bytes"
    swap = _SWAPS.get(dtype, item) if container.byteorder == "big" else 1
    payload = RecordPayload(
        source=data,
        dtype=dtype,
        shape=record.shape,
        stride=record.stride,
        start=offset + begin,
        item_size_bytes=item,
        swap=swap,
    )
    return _Placed(name=name, source=tensor, payload=payload, storage=storage.key, begin=begin, end=end)


def locate_tensor(data: Buffer, container: Container, record: TensorRecord) -> RecordPayload | str:
    """Where the bytes of one tensor lie, or why it has none of its own."""
    placed = _place(data, container, "", SourceTensor(key="", path="", record=record))
    return placed if isinstance(placed, str) else placed.payload


def find_parameters(tensors: Iterable[SourceTensor]) -> dict[str, tuple[int, ...]]:
    """Key -> shape of what an optimizer may have been given: no buffers, no whole numbers, a tied tensor once."""
    found: dict[str, tuple[int, ...]] = {}
    seen = set()
    for tensor in tensors:
        record = tensor.record
        if record is None or record.storage is None or _kind(tensor) != "parameter":
            continue
        place = (record.storage.key, record.storage.view, record.offset, record.shape)
        if place not in seen and record.dtype.startswith(("float", "bfloat", "complex")):
            seen.add(place)
            found[tensor.key] = record.shape
    return found


def _carry(record: TensorRecord) -> tuple[str, TensorRecord]:
    """A dtype of the archive that holds the same bytes, and the tensor in it: a pair of numbers gets an axis."""
    dtype, parts = CARRIED_DTYPES[record.dtype]
    if parts == 1:
        return dtype, record
    stride = tuple(step * parts for step in record.stride)
    return dtype, replace(record, shape=(*record.shape, parts), stride=(*stride, 1), offset=record.offset * parts)


def read_numbers(data: Buffer, container: Container, record: TensorRecord, limit: int = 4096) -> Json:
    """A small dense tensor as nested lists; None where it is none, too large, or of a dtype without numbers."""
    placed = _place(data, container, "", SourceTensor(key="", path="", record=record))
    if isinstance(placed, str):
        return None
    count = 1
    for length in record.shape:
        count *= length
    code = NUMBER_FORMATS.get(placed.payload.dtype)
    if count > limit or code is None:
        return None
    raw = b"".join(bytes(piece) for piece in placed.payload.pieces())
    array = Array(dtype=placed.payload.dtype, shape=record.shape, data=raw, code=code)
    return cast(Json, array.to_list(limit))


def _share(group: list[_Placed], order: Mapping[str, int], plan: Plan) -> None:
    """Store the tensors of one storage: overlapping ones once, the others each."""
    cluster: list[_Placed] = []
    reach = -1
    for one in sorted(group, key=lambda one: (one.begin, one.end)):
        if cluster and one.begin >= reach:
            _store_cluster(cluster, order, plan)
            cluster = []
        cluster.append(one)
        reach = max(reach, one.end) if len(cluster) > 1 else one.end
    if cluster:
        _store_cluster(cluster, order, plan)


def _store_cluster(cluster: list[_Placed], order: Mapping[str, int], plan: Plan) -> None:
    cluster = sorted(cluster, key=lambda one: order[one.name])
    begin, end = min(one.begin for one in cluster), max(one.end for one in cluster)
    if begin == end:  # empty tensors share nothing
        for one in cluster:
            _store(one, plan)
        return
    first = cluster[0]
    same = all(_is_same(one, first) for one in cluster)
    covering = next(
        (
            one
            for one in cluster
            if one.begin == begin and one.end == end and is_row_major(one.payload.shape, one.payload.stride)
        ),
        first if same else None,
    )
    if len(cluster) == 1 and _shows_once(first):
        _store(first, plan)
        return
    swapped = any(one.payload.swap > 1 for one in cluster)
    if covering is None and swapped:
        for one in cluster:  # views of turned-around bytes cannot be shown: each is stored on its own
            _store(one, plan)
        return
    if covering is not None:
        canonical = covering.name
        _store(covering, plan)
    else:
        canonical = _free_name(plan, order)
        raw = RecordPayload(
            source=first.payload.source, dtype="U8", shape=(end - begin,), stride=(1,),
            start=first.payload.start - first.begin + begin, item_size_bytes=1,
        )  # fmt: skip
        plan.stored[canonical] = StoredTensor(payload=raw, kind="storage")
    for one in cluster:
        if one is covering:
            continue
        view = None
        if covering is None or not _is_same(one, covering):
            view = ViewRecord(
                dtype=one.payload.dtype,
                shape=one.payload.shape,
                stride=one.payload.stride,
                offset_bytes=one.begin - begin,
            )
        plan.aliases[one.name] = AliasRecord(name=one.name, canonical=canonical, kind=_kind(one.source), view=view)


def _store(one: _Placed, plan: Plan) -> None:
    payload = one.payload
    stride = None
    if not is_row_major(payload.shape, payload.stride) and _shows_once(one) and _is_dense(payload):
        stride = payload.stride
    plan.stored[one.name] = StoredTensor(payload=payload, kind=_kind(one.source), stride=stride)


def _is_same(one: _Placed, other: _Placed) -> bool:
    a, b = one.payload, other.payload
    return (a.start, a.dtype, a.shape, a.stride) == (b.start, b.dtype, b.shape, b.stride)


def _shows_once(one: _Placed) -> bool:
    """Whether no byte is shown twice: an expanded tensor (stride 0) shows one many times."""
    return all(length <= 1 or step > 0 for length, step in zip(one.payload.shape, one.payload.stride, strict=True))


def _is_dense(payload: RecordPayload) -> bool:
    """Whether a permutation of the axes makes it contiguous."""
    axes = sorted(zip(payload.stride, payload.shape, strict=True), reverse=True)
    shape = tuple(length for _, length in axes)
    return row_major_stride(shape) == tuple(step for step, _ in axes)


def _free_name(plan: Plan, order: Mapping[str, int]) -> str:
    number = 0
    while (name := f"storage/{number}") in order or name in plan.stored:
        number += 1
    return name


def _kind(tensor: SourceTensor) -> TensorKind:
    """Parameter or buffer: the source says it only for whole modules, so well-known buffer names decide the rest."""
    last = tensor.key.rpartition(".")[2]
    if last == "_extra_state":
        return "extra_state"
    if "._buffers[" in tensor.path or last in _BUFFERS:
        return "buffer"
    return "parameter"
