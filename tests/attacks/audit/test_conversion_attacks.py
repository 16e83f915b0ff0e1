"""A conversion of a small file that says much: it ends soon, it writes little, and it leaves nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mpt_format import ConversionError, MptError, convert_checkpoint

from .attacks import glob, p2, text, torch_zip


def _similar(depth: int = 40) -> list[Any]:
    """Two references to two references to ...: 2^40 paths, and 40 lists."""
    made: list[Any] = [1]
    for _ in range(depth):
        made = [made, made]
    return made


def _refuse(tmp_path: Path, value: Any, **options: Any) -> ConversionError:
    torch.save(value, tmp_path / "source.pt")
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source.pt"]
    return caught.value


@pytest.mark.parametrize("where", ["beside", "in a slot", "in an option"])
def test_value_that_is_small_until_it_is_written_out_is_refused(tmp_path: Path, where: str) -> None:
    value: dict[str, Any] = {"model": {"w": torch.ones(2)}}
    group: dict[str, Any] = {"params": [0]}
    slots: dict[str, Any] = {"exp_avg": torch.ones(2)}
    if where == "beside":
        value["x"] = _similar()
    else:
        (slots if where == "in a slot" else group)["x"] = _similar()
        value["optimizer"] = {"state": {0: slots}, "param_groups": [group]}
    assert "--weights-only" in str(_refuse(tmp_path, value))
    done = convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt", weights_only=True)
    assert set(done.tensors) == {"w"}


@pytest.mark.parametrize("shape", ["overlapping", "repeated"])
def test_tensors_that_show_a_few_bytes_without_end_are_refused(tmp_path: Path, shape: str) -> None:
    base = torch.ones(1 << 18)
    value = {
        f"w{at}": base[at:] if shape == "overlapping" else torch.ones(1).expand(1 << 22)
        for at in range(1200 if shape == "overlapping" else 80)
    }
    assert [path for path, _ in _refuse(tmp_path, value).refusals] == ["root"]


def test_tensor_under_thousands_of_names_is_read_and_stored_once(tmp_path: Path) -> None:
    tensor = torch.rand(1 << 18)
    torch.save({f"w{at}": tensor for at in range(4000)}, tmp_path / "source.pt")
    done = convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt")
    assert (done.aliases, len(set(done.digests.values()))) == (3999, 1)
    assert done.size_bytes < 4 << 20


def test_slots_that_would_be_written_thousands_of_times_leave_the_optimizer_out(tmp_path: Path) -> None:
    slots = {"exp_avg": torch.ones(1 << 16)}
    count = 6000
    optimizer = {"state": dict.fromkeys(range(count), slots), "param_groups": [{"params": list(range(count))}]}
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": optimizer}, tmp_path / "source.pt")
    done = convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt")
    assert done.slots == {} and done.size_bytes < 1 << 20
    (told,) = [loss for loss in done.losses if loss.path == "root['optimizer']" and loss.became.startswith("left out")]
    assert "again and again" in told.became


def _wrapper(state: bytes) -> bytes:
    """A tensor subclass with a state of a kind that the file chooses."""
    kind = glob("made.up", "Packed")
    shape = b"(" + b"K\x02t"
    inner = b"(" + kind + glob("torch", "float32") + shape + shape + b"K\x00" + glob("torch", "strided")
    inner += glob("torch", "device") + text("cpu") + b"\x85R\x89t"
    rebuild = glob("torch._utils", "_rebuild_wrapper_subclass") + kind + inner
    return glob("torch._tensor", "_rebuild_from_type_v2") + b"(" + rebuild + state + b"tR"


@pytest.mark.parametrize(
    "body",
    [
        b"}" + text("w") + _wrapper(b"}") + b"s",
        b"}" + text("w") + _wrapper(b"N") + b"s",
        b"}" + text("w") + _wrapper(b"K\x01") + b"s",
        b"}" + text("w") + _wrapper(b"}" + text("a") + b"K\x01s") + b"s",
        b"}" + text("w") + _wrapper(b"}K\x01K\x01s") + b"s",
        b"}q\x01" + text("w") + _wrapper(b"}" + text("a") + b"h\x01s") + b"s",
        b"}" + text("w") + _wrapper(b"}q\x02" + text("a") + b"h\x02s") + b"s",
        b"}q\x01" + text("state") + b"h\x01s" + text("param_groups") + b"](h\x01es",
        b"}" + text("torch") + glob("_codecs", "encode") + text("PK\x03\x04" * 40) + text("latin1") + b"\x86Rs",
        b"}" + text("torch") + glob("_codecs", "encode") + text("\x80\x02\x8a\x0a" * 40) + text("latin1") + b"\x86Rs",
    ],
)
def test_tensors_optimizers_and_files_that_lead_nowhere_are_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "source.pt").write_bytes(torch_zip(p2(body)))
    for options in ({}, {"as_fields": True}, {"state_path": "root"}, {"state_path": "root['torch']"}):
        for name in ("out.mpt", "out.safetensors"):
            with pytest.raises(MptError):
                convert_checkpoint(tmp_path / "source.pt", tmp_path / name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source.pt"]


def test_wrappers_of_wrappers_without_end_are_not_taken_apart(tmp_path: Path) -> None:
    leaf = _wrapper(b"}" + text("a") + b"K\x01s")
    for memo in range(20, 28):  # each wraps the one before it sixty times
        leaf = _wrapper(
            b"}(" + text("a") + leaf + b"q" + bytes([memo]) + (text("b") + b"h" + bytes([memo])) * 59 + b"u"
        )
    (tmp_path / "source.pt").write_bytes(torch_zip(p2(b"}" + text("w") + leaf + b"s")))
    with pytest.raises(MptError):
        convert_checkpoint(tmp_path / "source.pt", tmp_path / "out.mpt")
