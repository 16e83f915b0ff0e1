"""The table of a safetensors file: names, dtypes and shapes, with every defect the format forbids.

Looks at the header only. Where the reference library is lenient (repeated names), this reader is not.

Source: the safetensors format: 8 bytes little-endian header length, a JSON object, then the tensor buffer.
"""

from __future__ import annotations

__all__ = ["read_safetensors_table"]

import json

from ._stream import Buffer

_MAX_HEADER_BYTES = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def read_safetensors_table(
    data: Buffer, size_bytes: int | None = None
) -> tuple[list[tuple[str, str, tuple[int, ...]]], list[str]] | None:
    """The tensors and the problems of a safetensors file, or None when the bytes are none.

    Args:
        data: The file, or at least its header.
        size_bytes: Size of the whole file where `data` is only its beginning.
    """
    size = len(data) if size_bytes is None else size_bytes
    if len(data) < 10 or data[8:9] != b"{":
        return None
    length = int.from_bytes(data[:8], "little")
    if length > _MAX_HEADER_BYTES or 8 + length > size:
        return None if length > size else ([], ["the safetensors header is longer than the file"])
    problems: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) < len(pairs):
            problems.append("a name stands twice in the safetensors header")
        return made

    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=collect)
    except (ValueError, RecursionError):
        return [], ["the safetensors header is no JSON"]
    if not isinstance(header, dict):
        return None
    tensors = []
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        shape = entry.get("shape") if isinstance(entry, dict) else None
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2  # type: ignore[arg-type]
        ):
            problems.append(f"the entry of tensor {name[:80]!r} is malformed")
            continue
        assert isinstance(shape, list) and isinstance(offsets, list)
        bits = _BITS.get(dtype)
        for length_of_axis in shape:
            bits = None if bits is None else bits * length_of_axis
        if bits is not None and bits != 8 * (offsets[1] - offsets[0]):
            problems.append(f"tensor {name[:80]!r} has {offsets[1] - offsets[0]} bytes, its shape needs {bits // 8}")
        tensors.append((name, dtype, tuple(shape)))
        spans.append((offsets[0], offsets[1]))
    at = 0
    for begin, end in sorted(spans):
        if begin != at or end < begin:
            problems.append("tensors overlap, or bytes lie between them")
            break
        at = end
    if at != size - 8 - length and not problems:
        problems.append(f"the tensors need {at} bytes, the file holds {size - 8 - length}")
    return tensors, problems


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(n) is int and 0 <= n < 1 << 62 for n in value)
