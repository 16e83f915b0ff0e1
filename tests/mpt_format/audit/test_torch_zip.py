"""What torch's reader asks of an archive before it looks at the pickle: the audit says of each what torch does."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from mpt_format import ConversionError, convert_checkpoint
from mpt_format.audit import audit_bytes

from tests.attacks.audit.attacks import pack

from .agreement import load_with_torch, running_version

_PICKLE = b"\x80\x02}."
_NEW = {"a/data.pkl": _PICKLE}
LAYOUTS = {
    "as torch writes it": {**_NEW, "a/version": b"3\n"},
    "the version in a folder of its own": {**_NEW, "a/.data/version": b"3"},
    "the version with a space before and text behind": {**_NEW, "a/version": b" 3x"},
    "the version with a sign": {**_NEW, "a/version": b"+3"},
    "the oldest version": {**_NEW, "a/version": b"1"},
    "the newest version": {**_NEW, "a/version": b"10"},
    "no version": _NEW,
    "the version of another folder": {**_NEW, "b/version": b"3"},
    "a version that is no number": {**_NEW, "a/version": b"three"},
    "a version of nothing": {**_NEW, "a/version": b""},
    "a version below all": {**_NEW, "a/version": b"0"},
    "a version above all": {**_NEW, "a/version": b"11"},
    "a negative version": {**_NEW, "a/version": b"-3"},
    "no folder": {"data.pkl": _PICKLE, "version": b"3"},
    "a long folder": {f"{'a' * 505}/data.pkl": _PICKLE, f"{'a' * 505}/version": b"3"},
    "a folder that is too long": {f"{'a' * 511}/data.pkl": _PICKLE, f"{'a' * 511}/version": b"3"},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_loads_where_torch_loads_it(name: str) -> None:
    data = pack(LAYOUTS[name])
    error = load_with_torch(data)
    audit = audit_bytes(data, name=name)
    assert audit.torch[running_version()].loads is (error is None), error
    assert (audit.verdict == "ok") is (error is None)


def _repack(method: int, cut: int = 0) -> bytes:
    """A checkpoint whose records another program packed again, some of them shorter."""
    saved, packed = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.arange(6.0), "b": torch.ones(2)}, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(packed, "w", method) as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[: len(content) - cut] if "/data/" in name else content)
    return packed.getvalue()


@pytest.mark.parametrize("cut", [0, 4])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_compressed_records_are_answered_as_torch_answers_them(method: int, cut: int) -> None:
    data = _repack(method, cut)
    audit = audit_bytes(data, name="packed.pt")
    assert audit.torch[running_version()].loads is (load_with_torch(data) is None)
    assert (audit.verdict == "ok") is (cut == 0)


def test_compressed_records_are_not_converted_and_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "packed.pt").write_bytes(_repack(zipfile.ZIP_DEFLATED))
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "packed.pt", tmp_path / "out.mpt")
    assert {path for path, reason in caught.value.refusals if "zip -0" in reason} == {"root['w']", "root['b']"}
