"""Torch tensors as views into mapped bytes: no read, no copy, no conversion until one is asked for.

The mapping is private and copy-on-write: tensors may be trained in place, the file never changes, and processes that
read the same archive share its pages. Each stored tensor has a torch storage of its own, so saving one does not drag
the file along.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from mpt_format.dtypes import find_torch_dtype, torch_shape
from mpt_format.errors import ArchiveProblem, TensorMismatchError
from mpt_format.records import AliasRecord, TensorRecord, ViewRecord

if TYPE_CHECKING:
    import mmap


def view_tensors(
    mapping: mmap.mmap | memoryview,
    entries: Iterable[tuple[str, str, tuple[int, ...], int]],
    *,
    path: str | None,
) -> dict[str, torch.Tensor]:
    """Return tensors that lie in mapped memory.

    Args:
        mapping: writable memory.
        entries: name, the format's dtype and shape, and first byte in the mapping.
        path: the archive's path, for errors.

    Raises:
        TensorMismatchError: the installed torch lacks a dtype; with every tensor concerned.
    """
    if sys.byteorder != "little":
        problem = ArchiveProblem(where="machine", message="is big-endian; tensors are stored little-endian")
        raise TensorMismatchError(path, [problem])
    frombuffer, empty, dtypes = torch.frombuffer, torch.empty, _Dtypes()
    problems: list[ArchiveProblem] = []
    result: dict[str, torch.Tensor] = {}
    for name, dtype_name, stored_shape, offset in entries:
        dtype = dtypes[dtype_name]
        if dtype is None:
            message = f"is {dtype_name}, which torch {torch.__version__} does not have"
            problems.append(ArchiveProblem(where=name, message=message))
            continue
        shape = stored_shape if dtype_name != "F4" else torch_shape(dtype_name, stored_shape)
        count = math.prod(shape)
        if count == 0:  # frombuffer takes no empty range
            result[name] = empty(shape, dtype=dtype)
        else:
            flat = frombuffer(mapping, dtype=dtype, count=count, offset=offset)
            result[name] = flat if len(shape) == 1 else flat.view(shape)
    if problems:
        raise TensorMismatchError(path, problems)
    return result


class _Dtypes(dict[str, torch.dtype | None]):
    """Torch's dtypes by the format's name, looked up once."""

    def __missing__(self, name: str) -> torch.dtype | None:
        self[name] = dtype = find_torch_dtype(name)
        return dtype


def restore_layouts(tensors: dict[str, torch.Tensor], records: Iterable[TensorRecord]) -> None:
    """Give tensors the strides they were saved with; a copy only where these were not row-major."""
    for record in records:
        if record.stride is not None:
            tensor = tensors[record.name]
            turned = torch.empty_strided(tensor.shape, record.stride, dtype=tensor.dtype, device=tensor.device)
            tensors[record.name] = turned.copy_(tensor)


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
