"""Tensor bytes on their way into an archive, from torch or from anywhere else.

A payload names its dtype and shape and yields its bytes in row-major order, in pieces, so that writing never holds more
than a few pieces. The writer knows only this; it does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass

PIECE_BYTES = 8 << 20


class TensorPayload(Protocol):
    """One tensor to be written.

    Attributes:
        dtype: the format's name, as in ``F32``.
        shape: lengths in elements.
    """

    @property
    def dtype(self) -> str:
        """The format's name of the element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths in elements."""

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes, little-endian, row-major; together exactly the size that dtype and shape ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesPayload:
    """A tensor whose bytes are at hand.

    Attributes:
        dtype: the format's name.
        shape: lengths in elements.
        data: the bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces."""
        view = memoryview(self.data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]
