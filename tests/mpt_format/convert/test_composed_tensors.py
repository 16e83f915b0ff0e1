"""Tensors made of tensors, torch files kept as bytes, tensors without names: what they become, bit by bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from mpt_format import ConversionError, audit_checkpoint, convert_checkpoint, open_archive
from mpt_format.convert import Conversion
from torch import Tensor, nn

from tests.mpt_format.audit.corpus import Metrics


class Packed(torch.Tensor):
    """A quantized tensor as libraries write them: a shape outside, the numbers inside."""

    packed: Tensor
    scale: Any
    block: tuple[int, ...]
    more: Any
    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, packed: Tensor, scale: Any, more: Any = None) -> Packed:
        made: Packed = torch.Tensor._make_wrapper_subclass(cls, packed.shape, dtype=torch.float32)
        made.packed, made.scale, made.block, made.more = packed, scale, (1, 2), more
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(func)


def _convert(tmp_path: Path, value: Any, **options: Any) -> tuple[Conversion, dict[str, Tensor], dict[str, Any]]:
    torch.save(value, tmp_path / "old.pt")
    done = convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.mpt", **options)
    with open_archive(done.path) as archive:
        account: Any = (archive.manifest.lineage or {})["conversion"]
        return done, archive.read_tensors(), account.get("tensor_parts", {})


def test_subclass_that_wraps_tensors_is_kept_as_its_parts(tmp_path: Path) -> None:
    packed, scale = torch.arange(6, dtype=torch.int8).reshape(2, 3), torch.rand(2)
    done, read, parts = _convert(tmp_path, {"w": Packed(packed, scale), "b": torch.ones(2)})
    assert set(read) == {"w.packed", "w.scale", "b"}
    assert torch.equal(read["w.packed"], packed) and torch.equal(read["w.scale"], scale)
    assert parts["w"]["attributes"] == {"block": [1, 2], "more": None}
    assert [loss.path for loss in done.losses if loss.became.startswith("its parts")] == ["root['w']"]
    assert done.audit.verdict == "ok"


def test_wrappers_inside_wrappers_and_parameters_are_taken_apart_too(tmp_path: Path) -> None:
    inner = Packed(torch.ones(2, 2, dtype=torch.int8), torch.ones(1))
    _, read, parts = _convert(tmp_path, {"w": nn.Parameter(Packed(torch.ones(2, 2), inner), requires_grad=False)})
    assert set(read) == {"w.packed", "w.scale.packed", "w.scale.scale"}
    assert set(parts["w"]["parts"]) == set(read)


def test_attribute_of_a_subclass_that_is_an_object_is_refused_or_kept_when_asked(tmp_path: Path) -> None:
    value = {"w": Packed(torch.ones(2), torch.ones(1), Metrics())}
    with pytest.raises(ConversionError) as caught:
        _convert(tmp_path, value)
    assert [path for path, _ in caught.value.refusals] == ["root['w'].more"]
    _, _, parts = _convert(tmp_path, value, as_fields=True)
    assert parts["w"]["attributes"]["more"]["accuracy"] == 0.5
    _, read, parts = _convert(tmp_path, {**value, "v": torch.ones(3)}, drop=["root['w']"])
    assert set(read) == {"v"} and parts == {}


def test_shard_of_a_distributed_tensor_is_not_taken_for_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DTensor(Packed):
        __module__ = "torch.distributed.tensor"

    DTensor.__qualname__ = "DTensor"
    monkeypatch.setattr("torch.distributed.tensor.DTensor", DTensor)
    torch.save({"w": DTensor(torch.ones(2), torch.ones(1)), "v": torch.ones(1)}, tmp_path / "old.pt")
    with pytest.raises(ConversionError, match="full_tensor"):
        convert_checkpoint(tmp_path / "old.pt", tmp_path / "new.mpt")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_kept_as_what_makes_them(tmp_path: Path) -> None:
    rows = [torch.rand(2, 3), torch.rand(1, 3)]
    jagged = torch.nested.nested_tensor(rows, layout=torch.jagged)
    strided = torch.nested.nested_tensor(rows, layout=torch.strided)
    _, read, parts = _convert(tmp_path, {"j": jagged, "s": strided, "v": torch.ones(1)})
    again = torch.nested.nested_tensor_from_jagged(read["j.values"], read["j.offsets"])
    assert all(torch.equal(left, right) for left, right in zip(again.unbind(), rows, strict=True))
    buffers = [read[f"s.{name}"] for name in ("values", "sizes", "strides", "offsets")]
    viewed = torch._nested_view_from_buffer(*buffers)
    assert all(torch.equal(left, right) for left, right in zip(viewed.unbind(), rows, strict=True))
    assert parts["j"]["attributes"]["_ragged_idx"] == 1


def _inner() -> tuple[bytes, dict[str, Any]]:
    """What d3rlpy keeps as bytes: the state of several networks and their optimizers."""
    actor, critic = nn.Linear(3, 2), nn.Linear(3, 1)
    value: dict[str, Any] = {"actor": actor.state_dict(), "critic": critic.state_dict()}
    for name, net in (("actor", actor), ("critic", critic)):
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        value[f"{name}_optim"] = optimizer.state_dict()
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue(), value


@pytest.mark.parametrize("outer", ["zip", "legacy", "protocol 4"])
def test_torch_file_inside_a_byte_string_is_converted_with_its_optimizers(tmp_path: Path, outer: str) -> None:
    content, value = _inner()
    options: dict[str, Any] = {
        "legacy": {"_use_new_zipfile_serialization": False},
        "protocol 4": {"pickle_protocol": 4},
    }
    torch.save({"torch": content, "config": "{}", "version": "2"}, tmp_path / "x.d3", **options.get(outer, {}))
    done = convert_checkpoint(tmp_path / "x.d3", tmp_path / "x.mpt", state_path="root['torch']")
    with open_archive(done.path) as archive:
        read = archive.read_tensors()
        training: Any = archive.read_json("training.json")
    for name in ("actor", "critic"):
        assert all(torch.equal(read[f"{name}.{key}"], tensor) for key, tensor in value[name].items())
    assert training["converted_from"]["config"] == "{}"
    assert set(done.slots) == {"trainer/torch_actor_optim", "trainer/torch_critic_optim"}
    one = convert_checkpoint(tmp_path / "x.d3", tmp_path / "one.mpt", state_path="root['torch']['critic']")
    assert set(one.tensors) == {"weight", "bias"}
    assert one.slots["trainer/torch_critic_optim"] == 6


def test_several_torch_files_as_bytes_are_named_and_not_chosen_from(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"w": torch.ones(2)}, stream)
    torch.save({"one": stream.getvalue(), "two": [stream.getvalue()]}, tmp_path / "x.pt")
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "x.pt", tmp_path / "x.mpt")
    assert "root['one']" in str(caught.value) and "root['two'][0]" in str(caught.value)
    done = convert_checkpoint(tmp_path / "x.pt", tmp_path / "x.mpt", state_path="root['two'][0]", drop=["root['one']"])
    assert set(done.tensors) == {"w"}


def test_damaged_torch_file_inside_a_byte_string_is_malformed(tmp_path: Path) -> None:
    content, _ = _inner()
    torch.save({"torch": content[: len(content) // 2]}, tmp_path / "x.pt")
    with pytest.raises(ConversionError) as caught:
        convert_checkpoint(tmp_path / "x.pt", tmp_path / "x.mpt")
    assert caught.value.verdict == "malformed"


def test_bytes_beside_a_state_dict_stay_bytes(tmp_path: Path) -> None:
    content, _ = _inner()
    done, read, _ = _convert(tmp_path, {"model": {"w": torch.ones(2)}, "blob": content})
    assert set(read) == {"w"}
    assert [loss.became for loss in done.losses if loss.path == "root['blob']"] == ["base64 text"]


class Bare:
    """Tensors that have no names, and the names that they get."""

    one: ClassVar = torch.arange(3.0)
    several: ClassVar = [torch.ones(2), torch.zeros(1)]


@pytest.mark.parametrize(
    ("value", "state_path", "keys"),
    [
        (Bare.one, None, {"tensor"}),
        (Bare.several, None, {"0", "1"}),
        (tuple(Bare.several), None, {"0", "1"}),
        ({"a": Bare.several, "n": 1}, "root['a']", {"0", "1"}),
        ({"a": Bare.one, "n": 1}, "root['a']", {"tensor"}),
    ],
)
def test_tensors_without_names_get_numbers(tmp_path: Path, value: Any, state_path: str | None, keys: set[str]) -> None:
    done, read, _ = _convert(tmp_path, value, state_path=state_path)
    assert set(read) == keys
    assert done.audit.verdict == audit_checkpoint(done.path).verdict == "ok"
