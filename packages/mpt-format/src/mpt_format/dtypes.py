"""The element types of a tensor: safetensors' names, their width in bits, and torch's names where torch has them.

Source: the safetensors format, `Dtype` of the reference implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

BITS: Final[dict[str, int]] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

_TORCH_NAMES: Final[dict[str, str]] = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",  # one torch element holds two: the last dimension halves
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}

_FORMAT_NAMES: Final[dict[str, str]] = {value: key for key, value in _TORCH_NAMES.items()}

MAX_SIZE_BYTES: Final = (1 << 63) - 1


def find_size_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Return the bytes that a dense tensor takes, or None when it is no whole number of bytes or beyond 63 bits."""
    bits = BITS[dtype]
    for length in shape:
        bits *= length
        if bits > MAX_SIZE_BYTES * 8:
            return None
    return bits // 8 if bits % 8 == 0 else None


def find_torch_dtype(dtype: str) -> torch.dtype | None:
    """Return torch's element type for a format name, or None when the installed torch has none."""
    import torch

    name = _TORCH_NAMES.get(dtype)
    return getattr(torch, name, None) if name is not None else None


def find_format_dtype(dtype: torch.dtype) -> str | None:
    """Return the format's name for torch's element type, or None when the format has none."""
    return _FORMAT_NAMES.get(str(dtype).removeprefix("torch."))


def torch_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that torch gives a tensor of the format's shape: packed pairs halve the last dimension."""
    return (*shape[:-1], shape[-1] // 2) if dtype == "F4" and shape else shape


def format_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the format's shape of a torch shape: the inverse of `torch_shape`."""
    return (*shape[:-1], shape[-1] * 2) if dtype == "F4" and shape else shape
