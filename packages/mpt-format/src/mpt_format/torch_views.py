"""Torch tensors as views into mapped bytes: no read, no copy, no conversion until one is asked for.

The mapping is private and copy-on-write: tensors may be trained in place, the file never changes, and processes that
read the same archive share its pages. Each stored tensor has a torch storage of its own, so saving one does not drag
the file along.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from mpt_format.dtypes import find_torch_dtype, torch_shape
from mpt_format.errors import ArchiveProblem, TensorMismatchError
from mpt_format.records import AliasRecord, TensorRecord, ViewRecord
from mpt_format.tensor_header import TensorSlot

if TYPE_CHECKING:
    import mmap


def view_tensors(
    mapping: mmap.mmap | memoryview,
    buffer_offset: int,
    slots: Mapping[str, TensorSlot],
    *,
    path: str | None,
) -> dict[str, torch.Tensor]:
    """Return one tensor per slot, in the given order.

    Args:
        mapping: writable memory that holds the tensor buffer.
        buffer_offset: where the tensor buffer begins in it.
        slots: which bytes are which tensor.
        path: the archive's path, for errors.

    Raises:
        TensorMismatchError: the installed torch lacks a dtype; with every tensor concerned.
    """
    if sys.byteorder != "little":
        problem = ArchiveProblem(where="machine", message="is big-endian; tensors are stored little-endian")
        raise TensorMismatchError(path, [problem])
    dtypes = {dtype: find_torch_dtype(dtype) for dtype in {slot.dtype for slot in slots.values()}}
    problems = [
        ArchiveProblem(where=name, message=f"is {slot.dtype}, which torch {torch.__version__} does not have")
        for name, slot in slots.items()
        if dtypes[slot.dtype] is None
    ]
    if problems:
        raise TensorMismatchError(path, problems)
    result: dict[str, torch.Tensor] = {}
    for name, slot in slots.items():
        dtype: Any = dtypes[slot.dtype]
        shape = torch_shape(slot.dtype, slot.shape)
        if slot.start == slot.stop:
            result[name] = torch.empty(shape, dtype=dtype)
            continue
        count = (slot.stop - slot.start) // dtype.itemsize
        result[name] = torch.frombuffer(mapping, dtype=dtype, count=count, offset=buffer_offset + slot.start).view(
            shape
        )
    return result


def restore_layout(tensor: torch.Tensor, record: TensorRecord) -> torch.Tensor:
    """Return the tensor with the strides it was saved with; a copy only where they were not row-major."""
    if record.stride is None:
        return tensor
    result = torch.empty_strided(tensor.shape, record.stride, dtype=tensor.dtype, device=tensor.device)
    return result.copy_(tensor)


def add_aliases(tensors: dict[str, torch.Tensor], aliases: Iterable[AliasRecord]) -> None:
    """Add every alias whose canonical tensor is there: the same object, or a view of the same storage."""
    for alias in aliases:
        canonical = tensors.get(alias.canonical)
        if canonical is not None:
            tensors[alias.name] = canonical if alias.view is None else _view(canonical, alias.view)


def move_tensors(
    tensors: Mapping[str, torch.Tensor], *, device: str | torch.device, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """Move tensors, and convert the floating ones; tensors that are one object stay one object."""
    moved: dict[int, torch.Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in moved:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            moved[id(tensor)] = tensor.to(device=device, dtype=wanted)
    return {name: moved[id(tensor)] for name, tensor in tensors.items()}


def _view(canonical: torch.Tensor, view: ViewRecord) -> torch.Tensor:
    dtype: Any = find_torch_dtype(view.dtype)
    if 0 in view.shape:
        return torch.empty(view.shape, dtype=dtype, device=canonical.device)
    offset = canonical.storage_offset() * canonical.element_size() + view.offset_bytes
    return torch.empty(0, dtype=dtype, device=canonical.device).set_(
        canonical.untyped_storage(), offset // dtype.itemsize, view.shape, view.stride
    )
