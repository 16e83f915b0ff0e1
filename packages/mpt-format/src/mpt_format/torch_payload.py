"""The bytes of a torch tensor, without a second copy of it.

A contiguous tensor on the CPU is read in place. Anything else - strided, on a device, lazily conjugated - is made
contiguous in pieces of a few megabytes.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mpt_format.dtypes import find_format_dtype, format_shape
from mpt_format.errors import ArchiveProblem, UnstorableStateError
from mpt_format.payload import PIECE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchPayload:
    """A torch tensor on its way into an archive.

    Attributes:
        dtype: the format's name.
        shape: lengths in the format's elements.
        tensor: the tensor, detached.
    """

    dtype: str
    shape: tuple[int, ...]
    tensor: torch.Tensor

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor) -> TorchPayload:
        """Wrap a tensor.

        Raises:
            UnstorableStateError: the archive cannot carry it.
        """
        reason = find_unstorable(tensor)
        dtype = find_format_dtype(tensor.dtype)
        if reason is not None or dtype is None:
            raise UnstorableStateError([ArchiveProblem(where=name, message=reason or "has no dtype")])
        return cls(dtype=dtype, shape=format_shape(dtype, tuple(tensor.shape)), tensor=tensor.detach())

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces; each keeps its own memory alive."""
        yield from _pieces(self.tensor)


def find_unstorable(tensor: torch.Tensor) -> str | None:
    """Return why an archive cannot carry the tensor, or None when it can."""
    if tensor.layout != torch.strided:
        return f"has the layout {tensor.layout}; call .to_dense() before saving"
    if tensor.is_quantized:
        return f"is quantized ({tensor.dtype}); store int_repr(), scale and zero point"
    if tensor.is_meta:
        return "is on the meta device and has no values"
    if find_format_dtype(tensor.dtype) is None:
        return f"has the dtype {tensor.dtype}, which safetensors does not have"
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return f"is a {type(tensor).__qualname__}, a tensor subclass; convert it to a plain tensor"
    if sys.byteorder != "little":
        return "is big-endian; the format is little-endian"
    return None


def _pieces(tensor: torch.Tensor) -> Iterator[memoryview]:
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return
    is_plain = tensor.device.type == "cpu" and not tensor.is_conj() and not tensor.is_neg()
    if is_plain and tensor.is_contiguous():
        memory = (ctypes.c_ubyte * size).from_address(tensor.data_ptr())
        memory.owner = tensor  # type: ignore[attr-defined]  # a piece keeps its tensor's memory alive in other threads
        view = memoryview(memory).cast("B")
        for start in range(0, size, PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]
    elif size <= PIECE_BYTES or tensor.dim() == 0:
        yield from _pieces(tensor.resolve_conj().resolve_neg().cpu().contiguous())
    else:
        rows = tensor.shape[0]
        step = max(1, rows * PIECE_BYTES // size)
        for start in range(0, rows, step):
            part = tensor[start : start + step]
            yield from _pieces(part if step > 1 or tensor.dim() == 1 else part[0])
