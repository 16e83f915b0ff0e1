"""NumPy arrays and scalars read from the graph, without NumPy.

Knows the two ways in which NumPy pickles an array (`_reconstruct` with a state, `_frombuffer`) and a scalar
(`multiarray.scalar`), and the plain dtypes. Structured dtypes, text and objects are described, not read.

Source: NumPy's `array_reduce` and `array_setstate` (numpy/_core/src/multiarray/methods.c).
"""

from __future__ import annotations

__all__ = ["NUMBER_FORMATS", "Array", "read_array", "read_scalar"]

import struct
from dataclasses import dataclass
from typing import Any

from mpt_format.audit._judge import find_bytes, find_callee_name
from mpt_format.audit._nodes import Call, Node

_FORMATS = {
    "b1": ("BOOL", "?", 1), "i1": ("I8", "b", 1), "u1": ("U8", "B", 1), "i2": ("I16", "h", 2), "u2": ("U16", "H", 2),
    "i4": ("I32", "i", 4), "u4": ("U32", "I", 4), "i8": ("I64", "q", 8), "u8": ("U64", "Q", 8), "f2": ("F16", "e", 2),
    "f4": ("F32", "f", 4), "f8": ("F64", "d", 8), "c8": ("C64", "", 8),
}  # fmt: skip

NUMBER_FORMATS = {name: code for name, code, _ in _FORMATS.values() if code}
"""The archive's dtype -> the format character of `struct`, for dtypes that are plain numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """One array: dtype as the archive names it, shape, row-major little-endian bytes; objects have none."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | None
    code: str
    is_object: bool = False

    def to_list(self, limit: int) -> Any:
        """Nested lists of numbers, or None where there are too many or the dtype has no numbers."""
        if self.data is None or not self.code:
            return None
        count = 1
        for length in self.shape:
            count *= length
        if count > limit:
            return None
        flat = list(struct.unpack(f"<{count}{self.code}", self.data))
        if any(value != value or value in (float("inf"), float("-inf")) for value in flat):
            flat = [value if abs(value) < float("inf") else repr(value) for value in flat]
        for length in reversed(self.shape[1:]):
            flat = [flat[at : at + length] for at in range(0, len(flat), length)] if length else []
        return flat if self.shape else flat[0]


def read_array(node: Node) -> Array | None:
    """The array that a node would be, or None when it is no array or one that only NumPy can build."""
    if not isinstance(node, Call):
        return None
    name = find_callee_name(node.func) or ""
    if name.endswith(".multiarray._reconstruct") and name.startswith("numpy") and node.states:
        state = node.states[0]
        if type(state) is not tuple or len(state) != 5:
            return None
        _, shape, dtype, fortran, content = state
        return _make(shape, dtype, fortran is True, content)
    if name.endswith(".numeric._frombuffer") and type(node.args) is tuple and len(node.args) == 4:
        content, dtype, shape, order = node.args
        return _make(shape, dtype, order == "F", content)
    return None


def _make(shape: Node, dtype: Node, fortran: bool, content: Node) -> Array | None:
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape) or len(shape) > 32:
        return None
    found = _read_dtype(dtype)
    if type(content) is list:
        return Array(dtype="object", shape=shape, data=None, code="", is_object=True)
    raw = find_bytes(content)
    if found is None or raw is None:
        return None
    name, code, width, big = found
    count = 1
    for length in shape:
        count *= length
    if len(raw) != count * width:
        return None
    if big and width > 1:
        step = 4 if name == "C64" else width
        raw = b"".join(raw[at : at + step][::-1] for at in range(0, len(raw), step))
    if fortran and len(shape) > 1:
        raw = _to_row_major(raw, shape, width)
    return Array(dtype=name, shape=shape, data=raw, code=code)


def _to_row_major(raw: bytes, shape: tuple[int, ...], width: int) -> bytes:
    strides = [1]
    for length in shape[:-1]:
        strides.append(strides[-1] * length)
    offsets = [0]
    for length, stride in zip(shape, strides, strict=True):
        offsets = [base + at * stride for base in offsets for at in range(length)]
    return b"".join(raw[at * width : (at + 1) * width] for at in offsets)


def _read_dtype(node: Node) -> tuple[str, str, int, bool] | None:
    if not isinstance(node, Call) or find_callee_name(node.func) != "numpy.dtype":
        return None
    args = node.args
    if type(args) is not tuple or not args or type(args[0]) is not str:
        return None
    order = "|"
    for state in node.states or ():
        if type(state) is tuple and len(state) > 1 and type(state[1]) is str:
            order = state[1]
    entry = _FORMATS.get(args[0].lstrip("<>|="))
    return None if entry is None else (*entry, order == ">" or args[0].startswith(">"))


def read_scalar(node: Node) -> tuple[str, Any] | None:
    """The dtype name and Python value of a pickled numpy scalar."""
    if not isinstance(node, Call) or not (find_callee_name(node.func) or "").endswith(".multiarray.scalar"):
        return None
    if type(node.args) is not tuple or len(node.args) != 2:
        return None
    found = _read_dtype(node.args[0])
    raw = find_bytes(node.args[1])
    if found is None or raw is None or not found[1] or len(raw) != found[2]:
        return None
    return found[0], struct.unpack((">" if found[3] else "<") + found[1], raw)[0]
