"""Every dtype, shape, layout and way of asking for tensors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mpt_format import (
    AliasRecord,
    ArchiveContent,
    BytesPayload,
    ModuleState,
    StoredTensor,
    TensorMismatchError,
    UnstorableStateError,
    collect_state,
    open_archive,
    write_archive,
)
from mpt_format.dtypes import BITS, find_format_dtype, find_size_bytes, find_torch_dtype
from mpt_format.tensor_header import BufferLayout, parse_tensor_header
from safetensors import safe_open
from safetensors.torch import load_file

IN_TORCH = [name for name in BITS if find_torch_dtype(name) is not None]


def save(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    module = torch.nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return write_archive(path, ArchiveContent(state=collect_state(module))).path


def pattern(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Return a tensor of every bit pattern in turn (0 and 1 for booleans)."""
    count = math.prod(shape)
    if dtype == torch.bool:
        return (torch.arange(count) % 2).bool().reshape(shape)
    raw = torch.arange(count * dtype.itemsize, dtype=torch.int64).mul(37).to(torch.uint8)
    return raw.view(dtype).reshape(shape)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""


@pytest.mark.parametrize("name", IN_TORCH)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0,), (2, 0, 3), (1, 1, 1, 1, 1)])
def test_every_dtype_and_shape_comes_back_bit_for_bit(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    dtype = find_torch_dtype(name)
    assert dtype is not None
    if name == "F4" and not shape:
        shape = (1,)  # a packed pair has a last dimension
    tensor = pattern(dtype, *shape)
    with open_archive(save({"x": tensor, "pad": torch.zeros(1, dtype=torch.uint8)}, tmp_path / "x.mpt")) as archive:
        archive.verify("full")
        found = archive.read_tensors()["x"]
        assert archive.tensors["x"].dtype == name
    assert (found.dtype, found.shape) == (dtype, tensor.shape)
    assert bits(found) == bits(tensor)


def test_dtype_names_agree_in_both_directions() -> None:
    assert len(IN_TORCH) >= 20
    for name in IN_TORCH:
        dtype = find_torch_dtype(name)
        assert dtype is not None
        assert find_format_dtype(dtype) == name


def test_weights_are_a_safetensors_file_that_the_reference_library_reads(tmp_path: Path) -> None:
    tensors = {
        find_torch_dtype(name): pattern(find_torch_dtype(name) or torch.uint8, 2, 6)
        for name in IN_TORCH
        if name != "F4"
    }
    named = {f"t_{dtype}".replace("torch.", ""): tensor for dtype, tensor in tensors.items()}
    with open_archive(save(named, tmp_path / "x.mpt")) as archive:
        data = archive.read_member("weights.safetensors")
        assert archive.members["weights.safetensors"].offset % 4096 == 0
        assert archive.weights_layout[0] % 64 == 0
    file = tmp_path / "w.safetensors"
    file.write_bytes(data)
    found = load_file(file)
    assert found.keys() == named.keys()
    for name, tensor in named.items():
        assert bits(found[name]) == bits(tensor), name
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}


@pytest.mark.parametrize("name", [name for name in BITS if name not in IN_TORCH])
def test_dtype_that_torch_lacks_is_kept_and_named(name: str, tmp_path: Path) -> None:
    data = bytes(range(12))
    payload = BytesPayload(dtype=name, shape=(12 * 8 // BITS[name],), data=data)
    state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
    path = write_archive(tmp_path / "x.mpt", ArchiveContent(state=state)).path
    with open_archive(path) as archive:
        assert archive.read_tensor_bytes("x") == data
        with pytest.raises(TensorMismatchError) as caught:
            archive.read_tensors()
    assert [problem.where for problem in caught.value.problems] == ["x"]


def test_tensors_are_aligned_to_their_elements(tmp_path: Path) -> None:
    tensors = {f"t{i}_{name}": pattern(find_torch_dtype(name) or torch.uint8, i, 2)
               for i in range(1, 4) for name in IN_TORCH}  # fmt: skip
    with open_archive(save(tensors, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


def test_tensors_of_whole_64_bytes_are_aligned_to_64_whatever_stands_beside_them(tmp_path: Path) -> None:
    tensors = {
        "a_bias": torch.ones(3),
        "a_count": torch.tensor(7),
        "a_half": torch.ones(32, dtype=torch.float16),
        "a_weight": torch.ones(3, 16),
        "b_bias": torch.ones(5, dtype=torch.float64),
        "b_bytes": torch.ones(128, dtype=torch.uint8),
        "b_weight": torch.ones(16, 1),
    }
    with open_archive(save(tensors, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()
    whole = {name for name, tensor in found.items() if tensor.nbytes % 64 == 0}
    assert whole == {"a_half", "a_weight", "b_bytes", "b_weight"}
    assert {name for name in whole if found[name].data_ptr() % 64} == set()
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last),
        torch.randn(64, 64).t(),
        torch.randn(3, 1, 4).transpose(0, 2),
    ],
    ids=["permuted", "channels last", "transposed", "with a dimension of one"],
)
def test_dense_layouts_keep_their_strides(tensor: torch.Tensor, tmp_path: Path) -> None:
    with open_archive(save({"x": tensor}, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()["x"]
    assert torch.equal(found, tensor)
    assert found.stride() == tensor.stride()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(100.0)[10:20],
        torch.arange(100.0)[::7],
        torch.arange(36.0).reshape(6, 6)[1:5, 2:4],
        torch.arange(3).expand(4, 3),
        torch.arange(10.0).unfold(0, 3, 1),
        torch.randn(4, dtype=torch.complex64).conj(),
        torch.imag(torch.randn(4, dtype=torch.complex64).conj()),
        torch.zeros(0, 5).t(),
    ],
    ids=["slice", "every seventh", "block", "expanded", "windows", "conjugate", "negated", "empty transposed"],
)
def test_views_keep_their_values(tensor: torch.Tensor, tmp_path: Path) -> None:
    with open_archive(save({"x": tensor}, tmp_path / "x.mpt")) as archive:
        archive.verify("full")
        assert torch.equal(archive.read_tensors()["x"], tensor)


def test_a_lazy_conjugate_beside_its_original_keeps_its_values(tmp_path: Path) -> None:
    plain = torch.randn(4, dtype=torch.complex64)
    tensors = {"plain": plain, "conjugate": plain.conj(), "imaginary": plain.conj().imag}
    with open_archive(save(tensors, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)


def test_tied_parameters_without_elements_stay_tied(tmp_path: Path) -> None:
    module = torch.nn.Module()
    module.a = module.b = torch.nn.Parameter(torch.empty(0, 3))
    path = write_archive(tmp_path / "x.mpt", ArchiveContent(state=collect_state(module))).path
    with open_archive(path) as archive:
        assert archive.aliases["b"].canonical == "a"
        state = archive.read_state_dict()
    assert state["a"] is state["b"]


def test_an_expanded_tensor_is_stored_once(tmp_path: Path) -> None:
    path = save({"x": torch.ones(1).expand(10_000_000)}, tmp_path / "x.mpt")
    assert path.stat().st_size < 20_000


def test_a_small_slice_does_not_drag_its_storage_along(tmp_path: Path) -> None:
    path = save({"x": torch.zeros(5_000_000)[:3]}, tmp_path / "x.mpt")
    assert path.stat().st_size < 20_000


def test_large_strided_tensors_are_copied_in_pieces(tmp_path: Path) -> None:
    tensor = torch.arange(3 * 1100 * 1100, dtype=torch.float32).reshape(3, 1100, 1100).permute(2, 1, 0)
    one_row = torch.arange(5_000_000, dtype=torch.float32).reshape(2_500_000, 2).t()[:1]
    with open_archive(save({"x": tensor, "row": one_row}, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()
    assert torch.equal(found["x"], tensor)
    assert torch.equal(found["row"], one_row)


def test_overlapping_views_of_several_dtypes_share_memory(tmp_path: Path) -> None:
    base = torch.arange(16, dtype=torch.int32)
    tensors = {"ints": base[2:10], "floats": base.view(torch.float32)[4:12], "bytes": base.view(torch.uint8)[8:20]}
    with open_archive(save(tensors, tmp_path / "x.mpt")) as archive:
        found = archive.read_tensors()
    for name, tensor in tensors.items():
        assert bits(found[name]) == bits(tensor)
    found["ints"][2] = -1
    assert bits(found["floats"][:1]) == b"\xff" * 4


def test_a_tensor_that_covers_its_views_is_stored_itself(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    with open_archive(save({"row": whole[1], "whole": whole, "turned": whole.t()}, tmp_path / "x.mpt")) as archive:
        assert list(archive.tensors) == ["whole"]
        found = archive.read_tensors()
    found["whole"][1, 2] = 77.0
    assert found["row"][2] == found["turned"][2, 1] == 77.0


def test_neighbours_in_one_storage_are_stored_apart(tmp_path: Path) -> None:
    flat = torch.arange(10.0)
    with open_archive(save({"a": flat[:5], "b": flat[5:]}, tmp_path / "x.mpt")) as archive:
        assert list(archive.tensors) == ["a", "b"]
        assert not archive.aliases
        found = archive.read_tensors()
    assert found["a"].untyped_storage().nbytes() == 20


def test_a_prefix_gives_its_keys_alone_with_aliases_resolved(tmp_path: Path) -> None:
    shared = torch.randn(3)
    path = save({"a": shared, "b": shared, "c": torch.zeros(1)}, tmp_path / "x.mpt")
    with open_archive(path) as archive:
        assert archive.aliases == {"b": AliasRecord(name="b", canonical="a", kind="buffer")}
        found = archive.read_tensors("b")
        with pytest.raises(TensorMismatchError):
            archive.read_tensors("zzz")
    assert found.keys() == {"b"}
    assert torch.equal(found["b"], shared)


def test_dtype_converts_floating_tensors_only_and_ties_stay(tmp_path: Path) -> None:
    shared = torch.randn(3)
    path = save({"a": shared, "b": shared, "n": torch.arange(3), "flag": torch.tensor(True)}, tmp_path / "x.mpt")
    with open_archive(path) as archive:
        found = archive.read_tensors(dtype=torch.bfloat16)
    assert found["a"] is found["b"]
    assert torch.equal(found["a"], shared.bfloat16())
    assert (found["n"].dtype, found["flag"].dtype) == (torch.int64, torch.bool)


def test_device_takes_the_tensors_there(tmp_path: Path) -> None:
    with open_archive(save({"a": torch.randn(3)}, tmp_path / "x.mpt")) as archive:
        assert archive.read_tensors(device="meta")["a"].is_meta


def test_what_no_archive_can_carry_is_refused_with_every_path() -> None:
    class Holder(torch.nn.Module):
        def get_extra_state(self) -> object:
            return {"when": {1: "int key"}, "pair": (1, 2), "loss": float("nan"), "big": 1 << 70, "fine": [None]}

        def set_extra_state(self, state: object) -> None: ...

    module = torch.nn.Module()
    module.register_buffer("sparse", torch.eye(2).to_sparse())
    module.register_buffer("meta", torch.empty(2, device="meta"))
    module.register_buffer("wide", torch.zeros(2, dtype=torch.complex128))
    module.inner = Holder()
    with pytest.raises(UnstorableStateError) as caught:
        collect_state(module)
    assert sorted(problem.where for problem in caught.value.problems) == [
        "inner._extra_state['big']",
        "inner._extra_state['loss']",
        "inner._extra_state['pair']",
        "inner._extra_state['when']",
        "meta",
        "sparse",
        "wide",
    ]


def test_tensor_extra_state_comes_back_as_a_tensor(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        got: object = None

        def get_extra_state(self) -> torch.Tensor:
            return torch.tensor([1, 2], dtype=torch.uint8)

        def set_extra_state(self, state: object) -> None:
            self.got = state

    path = write_archive(tmp_path / "x.mpt", ArchiveContent(state=collect_state(Scaled()))).path
    module = Scaled()
    with open_archive(path) as archive:
        assert archive.tensors["_extra_state"].kind == "extra_state"
        module.load_state_dict(archive.read_state_dict(), strict=True, assign=True)
    assert torch.equal(module.got, torch.tensor([1, 2], dtype=torch.uint8))  # type: ignore[arg-type]


def test_old_module_versions_upgrade_as_torch_does(tmp_path: Path) -> None:
    class OldNorm(torch.nn.BatchNorm1d):
        _version = 1

    old = OldNorm(3)
    del old._buffers["num_batches_tracked"]  # version 1 had none
    path = write_archive(tmp_path / "x.mpt", ArchiveContent(state=collect_state(old))).path
    new = torch.nn.BatchNorm1d(3)
    with open_archive(path) as archive:
        assert archive.manifest.modules[""].version == 1
        new.load_state_dict(archive.read_state_dict(), strict=True, assign=True)
    assert new.num_batches_tracked == 0


def test_the_layout_of_the_buffer_is_what_its_header_says() -> None:
    tensors = [("b", "F32", (2, 3)), ('ä"\\', "U8", (5,)), ("a", "F32", ()), ("z", "F64", (0,)), ("f", "F4", (4,))]
    laid = BufferLayout(tensors)
    slots = parse_tensor_header(laid.header[8:], buffer_bytes=laid.size_bytes - len(laid.header), subject="x")
    assert {name: slot.start for name, slot in slots.items()} == dict(laid.starts)
    assert {(name, slot.dtype, slot.shape) for name, slot in slots.items()} == set(tensors)
    assert len(laid.header) % 64 == 0
    for name, dtype, shape in tensors:
        assert slots[name].stop - slots[name].start == find_size_bytes(dtype, shape)
