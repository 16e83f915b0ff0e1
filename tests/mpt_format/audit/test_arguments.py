"""Arguments of functions that torch allows: what torch takes is no finding, what it cannot use is malformed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import pytest
import torch
from mpt_format.audit import audit_bytes
from mpt_format.audit._torch_table import load_rules

from tests.attacks.audit.attacks import glob, p2, pack, text, torch_zip
from tests.attacks.audit.spelled import misused

from .agreement import compare_odd_calls, load_with_torch, running_version
from .odd_calls import usual_calls

_ORDERED = glob("collections", "OrderedDict")
USED = {
    "bytearray of a small size": glob("builtins", "bytearray") + b"K\x03\x85R",
    "bytearray of text": glob("builtins", "bytearray") + text("\u00e9") + text("latin-1") + b"\x86R",
    "bytearray of numbers": glob("builtins", "bytearray") + b"](K\x01K\xffe\x85R",
    "text for text": glob("_codecs", "encode") + text("abc") + text("rot13") + b"\x86R",
    "bytes of another encoding": glob("_codecs", "encode") + text("abc\u20ac") + text("UTF-16-LE") + b"\x86R",
    "bytes": glob("_codecs", "encode") + text("\u00e9") + text("latin1") + b"\x86R",
    "complex of numbers": glob("builtins", "complex") + b"G" + struct.pack(">d", 1.5) + b"K\x02\x86R",
    "complex of text": glob("builtins", "complex") + text("1+2j") + b"\x85R",
    "set of numbers": glob("builtins", "set") + b"](K\x01K\x02e\x85R",
    "Counter of text": glob("collections", "Counter") + text("abca") + b"\x85R",
    "Counter of nothing": glob("collections", "Counter") + b"N\x85R",
    "OrderedDict of pairs": _ORDERED + b"](" + text("a") + b"K\x01\x86e\x85R",
    "OrderedDict made by NEWOBJ": _ORDERED + b"K\x03\x85\x81",
    "shape": glob("torch", "Size") + b"(K\x01K\x02t\x85R",
    "empty tensor of a small size": glob("torch", "Tensor") + b"K\x03K\x02\x86R",
    "tensor of numbers": glob("torch", "Tensor") + b"](K\x01K\x02e\x85R",
    "device": glob("torch", "device") + text("cuda:1") + b"\x85R",
    "device with a number": glob("torch", "device") + text("cuda") + b"K\x01\x86R",
    "layout": glob("torch.serialization", "_get_layout") + text("torch.sparse_coo") + b"\x85R",
    "parameter of nothing": glob("torch.nn.parameter", "Parameter") + b")R",
    "parameter of a tensor": glob("torch.nn.parameter", "Parameter") + glob("torch", "Tensor") + b")R\x85R",
}


def loads(data: bytes) -> bool:
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except (pickle.UnpicklingError, TypeError, ValueError, RuntimeError, MemoryError, AttributeError, LookupError):
        return False
    return True


@pytest.mark.parametrize("name", USED)
def test_what_torch_takes_is_no_finding(name: str) -> None:
    data = torch_zip(p2(USED[name]))
    assert loads(data)
    assert audit_bytes(data, name="x.pt").verdict == "ok"


def test_what_no_writer_gives_is_malformed_and_torch_cannot_use_it() -> None:
    for name, stream in misused():
        data = torch_zip(stream)
        assert audit_bytes(data, name="x.pt").verdict == "malformed", name
        if not name.startswith(
            ("codec that takes its time", "tensor of a size", "tensor of sizes", "bytearray of a size")
        ):
            assert not loads(data), name  # the others would run long, or ask for memory that a machine may have


def test_no_call_that_torch_refuses_is_said_to_load() -> None:
    promised, count = compare_odd_calls(13)
    assert promised == []
    assert count > 1500


def test_the_usual_calls_of_what_torch_allows_load() -> None:
    for name, data in usual_calls(list(load_rules().values())[-1]):
        assert load_with_torch(data) is None, name
        assert audit_bytes(data, name=name).verdict == "ok", name


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("more", [-1, 1, 400])
def test_a_record_of_another_length_is_refused_as_torch_does(legacy: bool, more: int) -> None:
    stream = io.BytesIO()
    torch.save(torch.zeros(4), stream, _use_new_zipfile_serialization=not legacy)
    data = stream.getvalue()
    if legacy:
        data = data[:-24] + struct.pack("<q", 4 + more) + bytes(max(0, 16 + 4 * more))
    else:
        with zipfile.ZipFile(stream) as source:
            members = {name: source.read(name) for name in source.namelist()}
        record = next(name for name in members if name.endswith("data/0"))
        data = pack(members | {record: bytes(16 + more)})
    audit = audit_bytes(data, name="x.pt")
    assert audit.torch[running_version()].loads is False
    assert load_with_torch(data) is not None
    assert audit.torch["2.9"].loads is not legacy
    assert audit.verdict == ("malformed" if more < 0 else "incompatible")
