"""Attacks that hide in what is read in one step: tensors and dates, behind 256 memo entries.

Each calls `os.system`, from within a shape, beside it, or through what a shape has stored. Written against
`mpt_format.audit._shapes`, whose functions must leave all of them to the loop or read them as the loop does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .attacks import SYSTEM, glob, p2, text

FIRST = 256
"""Index of the first memo entry behind the filling."""
_NAMES = {
    "rebuild": glob("torch._utils", "_rebuild_tensor_v2"),
    "storage": text("storage"),
    "kind": glob("torch", "FloatStorage"),
    "cpu": text("cpu"),
    "hooks": glob("collections", "OrderedDict"),
    "version": text("version"),
    "date": glob("datetime", "datetime"),
    "encode": glob("_codecs", "encode"),
    "latin1": text("latin1"),
    "system": glob("os", "system"),
    "ran": SYSTEM,
}
_FILLING = b"".join(b"Nq" + bytes([at]) + b"0" for at in range(FIRST)) + b"".join(
    made + b"q" + bytes([at]) + b"0" for at, made in enumerate(_NAMES.values())
)


def get(name: str) -> bytes:
    """BINGET of one of the names."""
    return b"h" + bytes([list(_NAMES).index(name)])


def load(index: int) -> bytes:
    """LONG_BINGET."""
    return b"j" + struct.pack("<I", index)


def put(index: int) -> bytes:
    """LONG_BINPUT."""
    return b"r" + struct.pack("<I", index)


def tensor(start: int = FIRST, **changed: bytes) -> bytes:
    """A dense tensor with one part replaced; its seven entries begin at `start`."""
    part = {
        "rebuild": get("rebuild"),
        "storage": get("storage") + get("kind"),
        "key": text("0"),
        "location": get("cpu"),
        "count": b"K\x04",
        "offset": b"K\x00",
        "shape": b"K\x04\x85",
        "stride": b"K\x01\x85",
        "grad": b"\x89",
        "hooks": get("hooks") + b")R",
        **changed,
    }
    puts = [put(start + at) for at in range(7)]
    return (
        part["rebuild"] + b"((" + part["storage"] + part["key"] + puts[0] + part["location"] + part["count"] + b"t"
        + puts[1] + b"Q" + part["offset"] + part["shape"] + puts[2] + part["stride"] + puts[3] + part["grad"]
        + part["hooks"] + puts[4] + b"t" + puts[5] + b"R" + puts[6]
    )  # fmt: skip


def date(start: int = FIRST, function: bytes = b"", encode: bytes = b"", codec: bytes = b"") -> bytes:
    """A date as protocol 2 writes it, with one part replaced."""
    puts = [put(start + at) for at in range(5)]
    made = (function or get("date")) + (encode or get("encode")) + text("touch x") + puts[0]
    return made + (codec or get("latin1")) + b"\x86" + puts[1] + b"R" + puts[2] + b"\x85" + puts[3] + b"R" + puts[4]


def shaped() -> Iterator[tuple[str, bytes]]:
    """Streams that run a command, each with a shape in the way."""
    plain = tensor()
    bodies = {
        "in the hooks of a tensor, later": plain + load(FIRST + 4) + text("k") + SYSTEM + b"s0",
        "in the state of a tensor": plain + b"(" + SYSTEM + b"tb",
        "as the location of a tensor": tensor(location=get("ran")),
        "beside the location": tensor(location=SYSTEM + b"0" + get("cpu")),
        "beside the shape": tensor(shape=SYSTEM + b"0K\x04\x85"),
        "as the rebuilding function": tensor(rebuild=get("system")),
        "as the class of the hooks": tensor(hooks=get("system") + text("touch x") + b"\x85R"),
        "behind a key whose length is a lie": tensor(key=b"X\x06\0\0\x000" + put(FIRST)) + SYSTEM,
        "behind a location whose length is a lie": tensor(location=b"X\x02\0\0\0cpu") + SYSTEM,
        "behind a key of 2**31 bytes": SYSTEM + b"0" + tensor(key=b"X\0\0\0\x800"),
        "behind a number that is none": tensor(count=b"G\x7f\xf8\0\0\0\0\0\0") + SYSTEM,
        "stored where a tensor was": plain + SYSTEM + put(FIRST + 6) + b"0" + load(FIRST + 6),
        "stored where a tensor will be": SYSTEM + put(FIRST + 6) + b"0" + plain + load(FIRST + 6) + SYSTEM,
        "stored far away": SYSTEM + put(2**32 - 1) + b"0" + plain + load(2**32 - 1),
        "stored far away, behind a tensor": plain + SYSTEM + put(2**31) + b"0" + tensor(FIRST + 7) + load(2**31),
        "as the outer call of a date": date(function=get("system")),
        "as the inner call of a date": date(encode=get("system")),
        "as the codec of a date": date(codec=get("ran")),
        "through a date that was stored": date() + b"0" + date(FIRST + 5, codec=SYSTEM + b"0" + get("latin1")),
        "as the key of a version": b"}" + put(FIRST) + get("ran") + b"K\x01s",
        "as the long key of a version": SYSTEM + put(FIRST) + b"0}" + put(FIRST + 1) + load(FIRST) + b"K\x01s",
        "in a version, later": b"X\x01\0\0\0k" + put(FIRST) + b"}" + put(FIRST + 1) + load(FIRST) + b"K\x01s"
        + text("k") + SYSTEM + b"s",
    }  # fmt: skip
    for name, body in bodies.items():
        yield name, p2(b"(" + _FILLING + body + b"l")
