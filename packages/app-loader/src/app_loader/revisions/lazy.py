"""A tensor that is computed when it is written: known by shape and type at once, by its numbers later.

A chain of operations on a lazy tensor costs nothing until its bytes are asked for, and they are let go afterwards; so
a migration needs the memory of its largest tensor, whatever the size of the archive. Rows that follow one another
(joining along the first axis) are given one part after the other and need not even that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from mpt_format.dtypes import find_format_dtype, format_shape
from mpt_format.torch_payload import TorchPayload
from torch import Tensor

from app_loader.errors import MigrationError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LazyTensor:
    """One tensor to be.

    Attributes:
        meta: a tensor on the ``meta`` device with its shape and element type.
        make: computes it, on the CPU.
        kind: parameter or buffer.
        at_hand: whether nothing has to be computed: it is a view into an archive.
        rows: tensors of which it is made by putting one after the other along the first axis; empty when it is made
            in another way.
    """

    meta: Tensor
    make: Callable[[], Tensor]
    kind: str = "parameter"
    at_hand: bool = False
    rows: tuple[LazyTensor, ...] = ()

    @classmethod
    def of(cls, tensor: Tensor, kind: str = "parameter") -> LazyTensor:
        """Wrap a tensor that is at hand, as a view into a mapped archive is."""
        return cls(meta=torch.empty_like(tensor, device="meta"), make=lambda: tensor, kind=kind, at_hand=True)

    @classmethod
    def join(
        cls, parts: tuple[LazyTensor, ...], compute: Callable[..., Tensor], *, in_rows: bool = False
    ) -> LazyTensor:
        """Return what a function of several tensors gives; its shape is found on the ``meta`` device.

        Args:
            parts: the tensors.
            compute: takes them in this order.
            in_rows: whether it puts one after the other along the first axis.
        """
        meta = compute(*(part.meta for part in parts))
        equal = len({part.meta.dtype for part in parts}) == 1  # others are promoted, and their bytes change
        return cls(
            meta=meta,
            make=lambda: compute(*(part.make() for part in parts)),
            kind=parts[0].kind,
            rows=parts if in_rows and equal else (),
        )

    def then(self, compute: Callable[[Tensor], Tensor]) -> LazyTensor:
        """Return what a function of this tensor gives."""
        return LazyTensor.join((self,), compute)

    def compute(self, key: str) -> Tensor:
        """Compute the tensor.

        Args:
            key: its name, for the error.

        Raises:
            MigrationError: undoing a revision would lose what was learned since.
        """
        try:
            return self.make()
        except RuntimeError as error:
            raise MigrationError(key, [str(error)], "mpt diagnose ARCHIVE") from error

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths in elements."""
        return tuple(self.meta.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements."""
        return self.meta.numel() * self.meta.element_size()


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyPayload:
    """A lazy tensor on its way into an archive.

    Attributes:
        dtype: the format's name.
        shape: lengths in elements.
        tensor: computed once for every pass of the writer.
        key: its name, for errors.
    """

    dtype: str
    shape: tuple[int, ...]
    tensor: LazyTensor
    key: str = ""

    @classmethod
    def of(cls, tensor: LazyTensor, key: str = "") -> LazyPayload:
        """Wrap a lazy tensor."""
        dtype = find_format_dtype(tensor.meta.dtype)
        assert dtype is not None, "an archive gave it, so an archive carries it"
        return cls(dtype=dtype, shape=format_shape(dtype, tensor.shape), tensor=tensor, key=key)

    def pieces(self) -> Iterator[memoryview]:
        """Compute the tensor and yield its bytes in pieces.

        Raises:
            MigrationError: undoing a revision would lose what was learned since.
        """
        for part in self.tensor.rows or (self.tensor,):
            if part.rows:
                yield from LazyPayload.of(part, self.key).pieces()
            else:
                made = part.compute(self.key).detach()
                yield from TorchPayload(dtype=self.dtype, shape=self.shape, tensor=made).pieces()
