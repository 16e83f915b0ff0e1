"""Every name that torch allows, called with what it is usually given and with much else.

Some thirty thousand checkpoints of one call each: no arguments, one or two of every kind of value, many of one kind,
and for each function that has a usual call, that call with one argument replaced, added or left out.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from mpt_format.audit._torch_table import Rules

from tests.attacks.audit.attacks import glob, p2, text, torch_zip


def number(value: int) -> bytes:
    """BININT1 or BININT."""
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + value.to_bytes(4, "little", signed=True)


def row(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def storage(kind: str = "FloatStorage", key: str = "0", length: int = 4) -> bytes:
    """The persistent id of one of the two records, of sixteen bytes each."""
    return b"(" + text("storage") + glob("torch", kind) + text(key) + text("cpu") + number(length) + b"tQ"


_HOOKS = glob("collections", "OrderedDict") + b")R"
_FLOAT = b"G" + struct.pack(">d", 1.5)
_DTYPE = glob("torch", "float32")


def tensor(shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), of: bytes = storage()) -> bytes:
    """A dense tensor."""
    return glob("torch._utils", "_rebuild_tensor_v2") + row(*dense(shape, stride, of)) + b"R"


def dense(shape: tuple[int, ...], stride: tuple[int, ...], of: bytes) -> list[bytes]:
    """What `_rebuild_tensor_v2` is given."""
    return [of, number(0), row(*map(number, shape)), row(*map(number, stride)), b"\x89", _HOOKS]


def layout(name: str) -> bytes:
    """A layout, as torch pickles it."""
    return glob("torch.serialization", "_get_layout") + text(name) + b"\x85R"


_OFFSETS = tensor((2,), (1,), storage("LongStorage", "1", 2))

VALUES = {
    "None": b"N",
    "True": b"\x88",
    "1": number(1),
    "0": number(0),
    "-1": number(-1),
    "1.5": _FLOAT,
    "'x'": text("x"),
    "'cpu'": text("cpu"),
    "''": text(""),
    "[]": b"]",
    "[1]": b"]K\x01a",
    "['x']": b"]" + text("x") + b"a",
    "{}": b"}",
    "{'a': 1}": b"}" + text("a") + b"K\x01s",
    "()": b")",
    "(1, 2)": row(number(1), number(2)),
    "('a', 1)": row(text("a"), number(1)),
    "((1, 2),)": row(row(number(1), number(2))),
    "([],)": row(b"]"),
    "dtype": _DTYPE,
    "storage": storage(),
    "tensor": tensor(),
    "whole numbers": _OFFSETS,
    "OrderedDict": _HOOKS,
    "class": glob("collections", "OrderedDict"),
    "Size": glob("torch", "Size") + row(row(number(2), number(2))) + b"R",
    "set": glob("builtins", "set") + b")R",
    "bytes": glob("_codecs", "encode") + row(text("ab"), text("latin1")) + b"R",
    "bytearray": glob("builtins", "bytearray") + b")R",
    "complex": glob("builtins", "complex") + row(_FLOAT, _FLOAT) + b"R",
    "device": glob("torch", "device") + text("cpu") + b"\x85R",
    "layout": layout("torch.strided"),
}

_USUAL = {
    "torch._utils._rebuild_tensor": dense((2, 2), (2, 1), storage())[:4],
    "torch._utils._rebuild_tensor_v2": dense((2, 2), (2, 1), storage()),
    "torch._utils._rebuild_parameter": [tensor(), b"\x88", _HOOKS],
    "torch._utils._rebuild_parameter_with_state": [tensor(), b"\x88", _HOOKS, VALUES["{'a': 1}"]],
    "torch._utils._rebuild_meta_tensor_no_storage": [_DTYPE, row(number(2)), row(number(1)), b"\x89"],
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": [tensor(), _DTYPE, text("cpu"), b"\x89"],
    "torch._utils._rebuild_qtensor": [
        *dense((4,), (1,), storage("QInt8Storage", "0", 16))[:4],
        row(glob("torch", "per_tensor_affine"), _FLOAT, number(0)),
        b"\x89",
        _HOOKS,
    ],
    "torch._utils._rebuild_sparse_tensor": [
        layout("torch.sparse_coo"),
        row(tensor((1, 2), (2, 1), storage("LongStorage", "1", 2)), tensor((2,)), row(number(200)), b"\x89"),
    ],
    "torch._tensor._rebuild_from_type_v2": [
        glob("torch._utils", "_rebuild_tensor_v2"),
        glob("torch.nn.parameter", "Parameter"),
        row(*dense((2, 2), (2, 1), storage())),
        b"}",
    ],
    "torch.nested._internal.nested_tensor._rebuild_njt": [
        b"}(" + text("values") + tensor() + text("offsets") + _OFFSETS + b"u"
    ],
    "torch.nn.parameter.Parameter": [tensor(), b"\x88"],
    "torch.Tensor": [number(2), number(3)],
    "torch.FloatTensor": [row(number(1), number(2))],
    "torch.device": [text("cpu"), number(0)],
    "torch.Size": [row(number(1), number(2))],
    "collections.OrderedDict": [b"]" + row(text("a"), number(1)) + b"a"],
    "collections.Counter": [VALUES["{'a': 1}"]],
    "builtins.set": [VALUES["[1]"]],
    "builtins.complex": [_FLOAT, _FLOAT],
    "builtins.bytearray": [text("ab"), text("latin1")],
    "_codecs.encode": [text("ab"), text("latin1")],
    "torch.serialization._get_layout": [text("torch.strided")],
}
"""Function -> arguments with which torch calls it; those that depend on a device or on NumPy are left out."""

_PAIRED = ("None", "1", "-1", "'x'", "'cpu'", "[1]", "{}", "(1, 2)", "tensor", "dtype", "storage", "True")
_REPEATED = ("None", "1", "tensor", "'x'")


def usual_calls(rules: Rules) -> Iterator[tuple[str, bytes]]:
    """One checkpoint for each function that has a usual call in a torch version."""
    for name, arguments in _USUAL.items():
        if name in rules.allowed:
            module, _, attribute = name.rpartition(".")
            yield name, pack(glob(module, attribute) + row(*arguments) + b"R")


def odd_calls(rules: Rules) -> Iterator[tuple[str, bytes]]:
    """Every allowed name of a torch version with all else."""
    for name, kind in sorted(rules.allowed.items()):
        module, _, attribute = name.rpartition(".")
        for described, arguments in _arguments(name, kind in ("function", "class", "list", "tensor")):
            for opcode in (b"R", b"\x81") if kind in ("class", "list", "tensor") else (b"R",):
                yield f"{name}({described}) {opcode!r}", pack(glob(module, attribute) + arguments + opcode)
        for described in ("tensor", "{}", "[1]", "1"):
            yield f"{name}(*{described})", pack(glob(module, attribute) + VALUES[described] + b"R")


def _arguments(name: str, thorough: bool) -> Iterator[tuple[str, bytes]]:
    yield "", b")"
    for described, value in VALUES.items():
        yield described, row(value)
    if not thorough:
        return
    for first, second in itertools.product(_PAIRED, _PAIRED):
        yield f"{first}, {second}", row(VALUES[first], VALUES[second])
    for count, described in itertools.product(range(3, 10), _REPEATED):
        yield f"{described} {count} times", row(*[VALUES[described]] * count)
    usual = _USUAL.get(name, [])
    for at in range(len(usual)):
        yield f"the first {at}", row(*usual[:at])
        for described, value in VALUES.items():
            yield f"{described} at {at}", row(*usual[:at], value, *usual[at + 1 :])
    for described, value in VALUES.items():
        yield f"{described} added", row(*usual, value)


def pack(body: bytes) -> bytes:
    """A torch zip of one pickle, with two records of sixteen bytes."""
    return torch_zip(p2(body), **{"archive/data/0": bytes(16), "archive/data/1": bytes(16)})
