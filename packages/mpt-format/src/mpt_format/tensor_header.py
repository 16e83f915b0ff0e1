"""The header of a safetensors member: which bytes are which tensor.

Refuses what the reference implementation accepts or leaves open: duplicate names, overlaps, holes, sizes that overflow,
metadata that is not text. Knows nothing of torch.

Source: the safetensors format (8 bytes little-endian length N, N bytes JSON padded with spaces, the tensor buffer).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import NoReturn, TypeGuard

from mpt_format.dtypes import BITS, MAX_SIZE_BYTES, find_size_bytes
from mpt_format.errors import ArchiveProblem, MalformedDocumentError
from mpt_format.format import BUFFER_ALIGNMENT_BYTES, MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_NAME_CHARACTERS
from mpt_format.strict_json import Json, parse_json

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSlot:
    """Where one tensor lies.

    Attributes:
        dtype: the format's name, as in ``F32``.
        shape: lengths in elements.
        start: first byte, from the start of the tensor buffer.
        stop: one past the last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def parse_header_length(prefix: bytes, *, member_bytes: int, subject: str) -> int:
    """Return the length in bytes of the header text.

    Args:
        prefix: the first 8 bytes of the member.
        member_bytes: the size of the whole member.
        subject: the member's name, for errors.

    Raises:
        MalformedDocumentError: too short, or the length does not fit.
    """
    if len(prefix) < LENGTH.size:
        _refuse(subject, f"has {member_bytes} bytes, too few for a tensor header")
    (length,) = LENGTH.unpack(prefix[: LENGTH.size])
    if length > MAX_HEADER_BYTES:
        _refuse(subject, f"has a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    if length + LENGTH.size > member_bytes:
        _refuse(subject, f"has a header of {length} bytes in a member of {member_bytes} bytes")
    return int(length)


def parse_tensor_header(text: bytes, *, buffer_bytes: int, subject: str) -> dict[str, TensorSlot]:
    """Parse the header text and prove that the tensors tile the buffer exactly.

    Args:
        text: the header's bytes, without the length.
        buffer_bytes: the bytes that follow the header.
        subject: the member's name, for errors.

    Returns:
        The slots by name, in buffer order.

    Raises:
        MalformedDocumentError: with every problem found.
    """
    if not text.startswith(b"{"):
        _refuse(subject, "has a header that does not begin with '{'")
    document = parse_json(text, subject=f"{subject} header", max_bytes=MAX_HEADER_BYTES, is_table=True)
    if not isinstance(document, dict):
        _refuse(subject, "has a header that is not an object")
    problems: list[ArchiveProblem] = []
    slots: dict[str, TensorSlot] = {}
    for name, entry in document.items():
        where = f"{subject} header: {name!r:.120}"
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
                problems.append(ArchiveProblem(where=where, message="is not a map of texts"))
            continue
        slot = _slot(entry, where, problems)
        if slot is not None:
            slots[name] = slot
        if len(name) > MAX_NAME_CHARACTERS:
            problems.append(ArchiveProblem(where=where, message=f"is longer than {MAX_NAME_CHARACTERS} characters"))
    ordered = dict(sorted(slots.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = 0
    for name, slot in ordered.items():
        if slot.start != end:
            kind = "overlaps the tensor before it" if slot.start < end else "leaves bytes before it unused"
            problems.append(
                ArchiveProblem(where=f"{subject} header: {name!r:.120}", message=f"begins at {slot.start}, {kind}")
            )
        end = max(end, slot.stop)
    if end != buffer_bytes and not problems:
        problems.append(
            ArchiveProblem(where=subject, message=f"has {buffer_bytes} bytes of tensors, the header describes {end}")
        )
    if problems:
        raise MalformedDocumentError(None, problems)
    return ordered


class BufferLayout:
    """The one header and the one order that a member of given tensors has (section 5.2).

    Attributes:
        header: length and text, padded.
        starts: name -> first byte of the tensor, from the start of the buffer, in buffer order.
        size_bytes: size of the member.
    """

    __slots__ = ("header", "size_bytes", "starts")

    def __init__(self, tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> None:
        """Lay out tensors given as name, dtype and shape.

        Raises:
            MalformedDocumentError: a tensor is no whole number of bytes or too large.
        """
        parts = ['{"__metadata__":{"format":"pt"}']
        self.starts: dict[str, int] = {}
        end = 0
        for bits, name, dtype, shape in sorted(map(_sized, tensors), key=_buffer_order):
            if bits % 8 or bits > MAX_SIZE_BYTES:
                _refuse(repr(name)[:120], f"{dtype} of shape {list(shape)} is no whole number of bytes or too large")
            self.starts[name] = end
            stop = end + bits // 8
            sizes = ",".join(map(str, shape))
            parts.append(
                f'{encode_basestring(name)}:{{"dtype":"{dtype}","shape":[{sizes}],"data_offsets":[{end},{stop}]}}'
            )
            end = stop
        self.header = _framed(",".join(parts).encode("utf-8") + b"}")
        self.size_bytes = len(self.header) + end


def _sized(entry: tuple[str, str, tuple[int, ...]]) -> tuple[int, str, str, tuple[int, ...]]:
    name, dtype, shape = entry
    return math.prod(shape, start=BITS[dtype]), name, dtype, shape


def _buffer_order(entry: tuple[int, str, str, tuple[int, ...]]) -> tuple[bool, int, str]:
    """Whole multiples of 64 bytes first: each of them begins at one, where torch would have put it."""
    bits, name, dtype, _ = entry
    return (bits % (8 * BUFFER_ALIGNMENT_BYTES) != 0, -BITS[dtype], name)


def _framed(text: bytes) -> bytes:
    padding = -(LENGTH.size + len(text)) % BUFFER_ALIGNMENT_BYTES
    return LENGTH.pack(len(text) + padding) + text + b" " * padding


def _slot(entry: Json, where: str, problems: list[ArchiveProblem]) -> TensorSlot | None:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        problems.append(ArchiveProblem(where=where, message="is not an object of dtype, shape and data_offsets"))
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        problems.append(ArchiveProblem(where=where, message=f"has the unknown dtype {dtype!r:.40}"))
        return None
    if not _is_counts(shape) or len(shape) > MAX_DIMENSIONS:
        problems.append(ArchiveProblem(where=where, message="has a shape that is not a short list of lengths"))
        return None
    if not _is_counts(offsets) or len(offsets) != 2:
        problems.append(ArchiveProblem(where=where, message="has data_offsets that are not two positions"))
        return None
    size = find_size_bytes(dtype, tuple(shape))
    if size is None or offsets[1] - offsets[0] != size:
        problems.append(
            ArchiveProblem(
                where=where,
                message=f"spans {offsets[1] - offsets[0]} bytes, {dtype} of shape {shape!s:.80} takes {size}",
            )
        )
        return None
    return TensorSlot(dtype=dtype, shape=tuple(shape), start=offsets[0], stop=offsets[1])


def _is_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _refuse(subject: str, message: str) -> NoReturn:
    raise MalformedDocumentError(None, [ArchiveProblem(where=subject, message=message)])
