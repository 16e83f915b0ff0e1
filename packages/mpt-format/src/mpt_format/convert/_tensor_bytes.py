"""Tensor bytes straight from the records of a foreign checkpoint, in row-major order, in pieces.

Reads by dtype, shape, stride and offset; every access is checked against the record before it happens. Needs neither
torch nor NumPy. Big-endian records are turned around.
"""

from __future__ import annotations

__all__ = [
    "CARRIED_DTYPES",
    "FORMAT_DTYPES",
    "RecordPayload",
    "extent_elements",
    "find_excess",
    "is_row_major",
    "row_major_stride",
]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mpt_format.audit._machine import Buffer
from mpt_format.payload import PIECE_BYTES

FORMAT_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
"""torch dtype -> the archive's name."""
CARRIED_DTYPES = {
    "complex32": ("F16", 2), "float4_e2m1fn_x2": ("U8", 1), "bits8": ("U8", 1), "bits1x8": ("U8", 1),
    "bits2x4": ("U8", 1), "bits4x2": ("U8", 1), "bits16": ("U16", 1),
}  # fmt: skip
"""torch dtype that the archive has no name for -> what keeps its bytes, and how many of those make one element."""


_MOST_SHOWN_BYTES = 1 << 30
_MOST_TIMES = 16


def find_excess(payloads: Iterable[RecordPayload], size_bytes: int, *, copies: bool) -> str | None:
    """Why tensors are too much for the file that they lie in; None where they are not.

    A few bytes may be shown again and again, by views that repeat them or by many that overlap. All that is shown is
    read, and what is no alias is written.

    Args:
        payloads: The tensors.
        size_bytes: Of the file.
        copies: Whether equal ones are written each, or once.
    """
    seen = set()
    shown = 0
    for payload in payloads:
        if copies or payload.place not in seen:
            seen.add(payload.place)
            shown += payload.size_bytes
    if shown <= max(_MOST_SHOWN_BYTES, _MOST_TIMES * size_bytes):
        return None
    return f"its tensors show the {size_bytes} bytes of the file again and again, {shown} bytes in all"


def row_major_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor."""
    stride = [1] * len(shape)
    for at in range(len(shape) - 2, -1, -1):
        stride[at] = stride[at + 1] * max(shape[at + 1], 1)
    return tuple(stride)


def is_row_major(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements lie one after the other in row-major order; strides of length-one axes do not matter."""
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length == 0:
            return True
        if length != 1 and step != expected:
            return False
        expected *= length
    return True


def extent_elements(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first to behind the last that a view shows; 0 for an empty one."""
    last = 0
    for length, step in zip(shape, stride, strict=True):
        if length == 0:
            return 0
        last += (length - 1) * step
    return last + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPayload:
    """One tensor inside a record of the source file.

    Attributes:
        source: The whole source file.
        dtype: The archive's dtype name.
        shape: Lengths in elements.
        stride: Steps in elements.
        start: Byte offset of the first element in the file.
        item_size_bytes: Bytes of one element.
        swap: Width in bytes of the units to turn around, for big-endian records; 1 leaves them.
    """

    source: Buffer
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    start: int
    item_size_bytes: int
    swap: int = 1

    @property
    def place(self) -> tuple[object, ...]:
        """What tells payloads of one file apart: those that are equal in this have the same bytes."""
        return (self.start, self.dtype, self.shape, self.stride, self.swap)

    @property
    def size_bytes(self) -> int:
        """Bytes that are shown, repeated ones each time."""
        size = self.item_size_bytes
        for length in self.shape:
            size *= length
        return size

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes, little-endian, row-major."""
        for piece in self._runs():
            yield memoryview(_turn(piece, self.swap) if self.swap > 1 else piece)

    def _runs(self) -> Iterator[bytes]:
        size = self.item_size_bytes
        if 0 in self.shape:
            return
        if is_row_major(self.shape, self.stride):
            total = size
            for length in self.shape:
                total *= length
            for at in range(self.start, self.start + total, PIECE_BYTES):
                yield self.source[at : min(at + PIECE_BYTES, self.start + total)]
            return
        pending = bytearray()
        for run in self._rows(memoryview(self.source), 0, self.start):
            pending += run
            if len(pending) >= PIECE_BYTES:
                yield bytes(pending)
                pending.clear()
        if pending:
            yield bytes(pending)

    def _rows(self, source: memoryview, axis: int, start: int) -> Iterator[bytes | memoryview]:
        """Runs of elements in row-major order: as long as they lie together, or one innermost axis gathered at once."""
        shape, stride, size = self.shape[axis:], self.stride[axis:], self.item_size_bytes
        if is_row_major(shape, stride):
            run = size
            for length in shape:
                run *= length
            yield source[start : start + run]
        elif len(shape) > 1:
            for at in range(shape[0]):
                yield from self._rows(source, axis + 1, start + at * stride[0] * size)
        elif not stride[0]:
            yield bytes(source[start : start + size]) * shape[0]
        else:
            extent = source[start : start + ((shape[0] - 1) * stride[0] + 1) * size]
            yield extent.cast(_UNITS[size])[:: stride[0]].tobytes()


_UNITS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Element size in bytes -> a format of that size, only to move elements."""


def _turn(piece: bytes, width: int) -> bytes:
    turned = bytearray(piece)
    for at in range(width):
        turned[at::width] = piece[width - 1 - at :: width]
    return bytes(turned)
