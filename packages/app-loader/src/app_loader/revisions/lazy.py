"""A tensor that is computed when it is written: known by shape and type at once, by its numbers later.

A chain of operations on a lazy tensor costs nothing until its bytes are asked for, and they are let go afterwards; so
a migration
needs the memory of its largest tensor, whatever the size of the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from mpt_format.dtypes import find_format_dtype, format_shape
from mpt_format.torch_payload import TorchPayload
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LazyTensor:
    """One tensor to be.

    Attributes:
        meta: a tensor on the ``meta`` device with its shape and element type.
        make: computes it, on the CPU.
        kind: parameter or buffer.
    """

    meta: Tensor
    make: Callable[[], Tensor]
    kind: str = "parameter"

    @classmethod
    def of(cls, tensor: Tensor, kind: str = "parameter") -> LazyTensor:
        """Wrap a tensor that is at hand, as a view into a mapped archive is."""
        return cls(meta=torch.empty_like(tensor, device="meta"), make=lambda: tensor, kind=kind)

    @classmethod
    def join(cls, parts: tuple[LazyTensor, ...], compute: Callable[..., Tensor]) -> LazyTensor:
        """Return what a function of several tensors gives; its shape is found on the ``meta`` device."""
        return cls(
            meta=compute(*(part.meta for part in parts)),
            make=lambda: compute(*(part.make() for part in parts)),
            kind=parts[0].kind,
        )

    def then(self, compute: Callable[[Tensor], Tensor]) -> LazyTensor:
        """Return what a function of this tensor gives."""
        return LazyTensor.join((self,), compute)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths in elements."""
        return tuple(self.meta.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyPayload:
    """A lazy tensor on its way into an archive.

    Attributes:
        dtype: the format's name.
        shape: lengths in elements.
        tensor: computed once for every pass of the writer.
    """

    dtype: str
    shape: tuple[int, ...]
    tensor: LazyTensor

    @classmethod
    def of(cls, tensor: LazyTensor) -> LazyPayload:
        """Wrap a lazy tensor."""
        dtype = find_format_dtype(tensor.meta.dtype)
        assert dtype is not None, "an archive gave it, so an archive carries it"
        return cls(dtype=dtype, shape=format_shape(dtype, tensor.shape), tensor=tensor)

    def pieces(self) -> Iterator[memoryview]:
        """Compute the tensor and yield its bytes in pieces."""
        yield from TorchPayload(dtype=self.dtype, shape=self.shape, tensor=self.tensor.make().detach()).pieces()
