"""Tensors as data: which storage, dtype, shape, stride and offset a pickled tensor names.

Recognises torch's rebuild functions by name and reads their arguments; builds no tensor and touches no bytes.

Source: `torch/_utils.py` (`_rebuild_*`), `torch/_tensor.py` (`Tensor._reduce_ex_internal`).
"""

from __future__ import annotations

__all__ = [
    "StorageRecord",
    "TensorRecord",
    "find_counts",
    "find_reach",
    "find_tensor",
    "is_tensor",
    "outline_tensor",
    "storage_item_size",
    "storage_record",
]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from ._nodes import Call, Global, Node, Persistent, TensorCall
from ._stream import Event
from ._torch_table import Rules, load_rules

_STORAGE_DTYPES = {
    "torch.UntypedStorage": "uint8",
    "torch.storage.UntypedStorage": "uint8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRecord:
    """One storage: its key in the container and what its elements are."""

    key: str
    dtype: str
    item_size_bytes: int
    length: int
    """In elements."""
    location: str
    view: tuple[str, int, int] | None = None
    """Legacy view metadata: key, offset and length of the part that is used, in elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """One tensor as the pickle describes it; `kind` is dense, sparse, quantized, meta, nested, wrapper or unknown."""

    kind: str
    dtype: str = "?"
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    offset: int = 0
    """Of the first element, in elements."""
    storage: StorageRecord | None = None
    requires_grad: bool = False
    parameter: bool = False
    subclass: str | None = None
    metadata: bool = False
    """Whether conjugate or negative bits are set, so that the bytes are not the values."""
    parts: tuple[Node, ...] = ()


def storage_record(node: Event) -> StorageRecord | None:
    """The storage that a persistent id names, or None when it names none."""
    if type(node) is not Persistent:
        return None
    pid = node.pid
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
        return None
    kind, key, location, length = pid[1:5]
    if type(kind) is not Global or type(length) is not int or length < 0 or not isinstance(key, str | int | bytes):
        return None
    dtype = _find_dtype(kind.full_name, kind.name)
    if dtype is None:
        return None
    view = pid[5] if len(pid) == 6 else None
    if type(view) is tuple and len(view) == 3 and type(view[1]) is int and type(view[2]) is int:
        checked_view: tuple[str, int, int] | None = (str(view[0]), view[1], view[2])
    else:
        checked_view = None
    return StorageRecord(
        key=key.decode("ascii", "replace") if isinstance(key, bytes) else str(key),
        dtype=dtype,
        item_size_bytes=_newest_rules().dtype_sizes[dtype],
        length=length,
        location=location if isinstance(location, str) else "?",
        view=checked_view,
    )


@cache
def _newest_rules() -> Rules:
    return list(load_rules().values())[-1]


@cache
def _find_dtype(full_name: str, name: str) -> str | None:
    """The dtype of a storage class, by its dotted name and its own; None of what is none."""
    return _STORAGE_DTYPES.get(full_name) or _newest_rules().storage_dtypes.get(name)


@cache
def storage_item_size(name: str) -> int:
    """Bytes of one element of a legacy storage class; 1 for untyped ones."""
    newest = _newest_rules()
    dtype = newest.storage_dtypes.get(name)
    return newest.dtype_sizes[dtype] if dtype is not None else 1


def outline_tensor(node: Node) -> TensorRecord | None:
    """The tensor that a node is, with its dtype and shape alone where it was read in one step; None when it is none."""
    if type(node) is TensorCall and node.source is not None:  # its arguments are not made for this
        kind, fit = node.source.parts.kind, node.source.fit
        dtype, shape = _find_dtype(kind.full_name, kind.name), find_counts(fit.shape)
        if dtype is not None and shape is not None and find_counts(fit.stride) is not None:
            return _outline(dtype, shape)
    return find_tensor(node)


@lru_cache(1024)  # layers repeat: making a record takes longer than all else here
def _outline(dtype: str, shape: tuple[int, ...]) -> TensorRecord:
    return TensorRecord(kind="dense", dtype=dtype, shape=shape)


def find_tensor(node: Node) -> TensorRecord | None:
    """The tensor that a node is, or None when it is none."""
    if not isinstance(node, Call) or type(node.func) is not Global:
        return None
    if _is_deep(node):
        return TensorRecord(kind="unknown")
    name = node.func.full_name
    args = node.args if type(node.args) is tuple else ()
    if name in _READERS:
        return _READERS[name](args)
    if name in _NESTED_TENSORS:
        return TensorRecord(kind="nested")
    if name.startswith("torch._utils._rebuild_"):
        return TensorRecord(kind="unknown")
    if name == "torch.nn.parameter.Parameter" and args:
        inner = find_tensor(args[0])
        return replace(inner, parameter=True) if inner else None
    return None


def _is_deep(node: Node) -> bool:
    """Whether more calls stand around a tensor than any writer puts there: the functions here call each other."""
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(node, Call) or type(node.func) is not Global or node.func.full_name not in _WRAPPERS:
            return False
        args = node.args
        if type(args) is not tuple or not args:
            return False
        node = args[0]
        if type(node) is Global and len(args) > 2 and type(args[2]) is tuple and args[2]:
            node = args[2][0]  # of _rebuild_from_type_v2: the arguments of the function that it calls
    return True


def is_tensor(node: Node) -> bool:
    """Whether `find_tensor` finds one, without reading it."""
    if not isinstance(node, Call) or type(node.func) is not Global:
        return False
    name = node.func.full_name
    if name == "torch.nn.parameter.Parameter":
        return find_tensor(node) is not None
    return name in _READERS or name.startswith("torch._utils._rebuild_") or name in _NESTED_TENSORS


def _read_dense(args: tuple[Node, ...]) -> TensorRecord:
    storage = storage_record(args[0]) if args else None
    if storage is None or len(args) < 4:
        return TensorRecord(kind="unknown")
    offset, size, stride = args[1:4]
    shape = find_counts(size)
    strides = find_counts(stride)
    if shape is None or strides is None or len(shape) != len(strides) or type(offset) is not int or offset < 0:
        return TensorRecord(kind="unknown")
    return TensorRecord(
        kind="dense",
        dtype=storage.dtype,
        shape=shape,
        stride=strides,
        offset=offset,
        storage=storage,
        requires_grad=len(args) > 4 and args[4] is True,
        metadata=len(args) > 6 and bool(args[6]),
    )


def _read_dense_v3(args: tuple[Node, ...]) -> TensorRecord:
    record = _read_dense(args[:5])
    dtype = args[6] if len(args) > 6 else None
    if record.kind != "dense" or type(dtype) is not Global:
        return TensorRecord(kind="unknown")
    name = dtype.full_name.removeprefix("torch.")
    newest = _newest_rules()
    if name not in newest.dtype_sizes:
        return TensorRecord(kind="unknown")
    return replace(record, dtype=name, metadata=len(args) > 7 and bool(args[7]))


def _read_quantized(args: tuple[Node, ...]) -> TensorRecord:
    record = _read_dense(args[:4])
    return replace(record, kind="quantized", parts=args[4:5]) if record.kind == "dense" else record


def _read_sparse(args: tuple[Node, ...]) -> TensorRecord:
    data = args[1] if len(args) > 1 and type(args[1]) is tuple else ()
    shape: tuple[int, ...] = ()
    dtype = "?"
    for part in data:
        inner = find_tensor(part)
        if inner is not None and inner.kind == "dense":
            dtype = inner.dtype
        elif (found := find_counts(part)) is not None:
            shape = found
    return TensorRecord(kind="sparse", dtype=dtype, shape=shape, parts=data)


def _read_meta(args: tuple[Node, ...]) -> TensorRecord:
    shape = find_counts(args[1]) if len(args) > 1 else None
    dtype = args[0].full_name.removeprefix("torch.") if args and type(args[0]) is Global else "?"
    return TensorRecord(kind="meta", dtype=dtype, shape=shape or ())


def _read_parameter(args: tuple[Node, ...]) -> TensorRecord:
    inner = find_tensor(args[0]) if args else None
    if inner is None:
        return TensorRecord(kind="unknown", parameter=True)
    return replace(inner, parameter=True, requires_grad=len(args) > 1 and args[1] is True)


def _read_from_type(args: tuple[Node, ...]) -> TensorRecord:
    if len(args) < 3 or type(args[0]) is not Global or type(args[2]) is not tuple:
        return TensorRecord(kind="unknown")
    if args[0].full_name in _NESTED_TENSORS:
        return TensorRecord(kind="nested")
    reader = _READERS.get(args[0].full_name)
    if reader is None or args[0].full_name == "torch._tensor._rebuild_from_type_v2":
        return TensorRecord(kind="unknown")
    subclass = args[1].full_name if type(args[1]) is Global else "?"
    record = reader(args[2])
    if subclass == "torch.nn.parameter.Parameter":
        return replace(record, parameter=True)
    return record if subclass == "torch.Tensor" else replace(record, subclass=subclass)


def _read_wrapper(args: tuple[Node, ...]) -> TensorRecord:
    shape = find_counts(args[2]) if len(args) > 2 else None
    return TensorRecord(kind="wrapper", shape=shape or ())


def _read_device(args: tuple[Node, ...]) -> TensorRecord:
    inner = find_tensor(args[0]) if args else None
    return inner or TensorRecord(kind="unknown")


def find_counts(node: Node) -> tuple[int, ...] | None:
    """A shape or stride: a tuple or list of whole numbers, or a torch.Size of one."""
    if isinstance(node, Call) and type(node.func) is Global and node.func.full_name == "torch.Size":
        node = node.args[0] if type(node.args) is tuple and node.args else ()
    if type(node) not in (tuple, list) or len(node) > 64:
        return None
    if any(type(n) is not int or n < 0 or n >= 1 << 62 for n in node):
        return None
    return tuple(node)


def find_reach(shape: Sequence[Node], stride: Sequence[Node]) -> Node | None:
    """How many elements behind the first one of a tensor the last one lies; None of a tensor that has none."""
    reach = 0
    for size, step in zip(shape, stride, strict=False):
        if size == 0:
            return None
        reach += (size - 1) * step
    return reach


_READERS = {
    "torch._utils._rebuild_tensor": _read_dense,
    "torch._utils._rebuild_tensor_v2": _read_dense,
    "torch._utils._rebuild_tensor_v3": _read_dense_v3,
    "torch._utils._rebuild_qtensor": _read_quantized,
    "torch._utils._rebuild_sparse_tensor": _read_sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _read_meta,
    "torch._utils._rebuild_parameter": _read_parameter,
    "torch._utils._rebuild_parameter_with_state": _read_parameter,
    "torch._utils._rebuild_wrapper_subclass": _read_wrapper,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _read_device,
    "torch._tensor._rebuild_from_type_v2": _read_from_type,
}
_MOST_WRAPPERS = 8
_WRAPPERS = frozenset(
    {
        "torch.nn.parameter.Parameter",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._tensor._rebuild_from_type_v2",
    }
)
"""Functions whose first argument is the tensor itself."""
_NESTED_TENSORS = frozenset(
    {"torch.nested._internal.nested_tensor._rebuild_njt", "torch._utils._rebuild_nested_tensor"}
)
