"""Any views of any storages come back with their values, and share memory exactly where they did."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format import ArchiveContent, collect_state, open_archive, write_archive

DTYPES = [torch.float32, torch.int16, torch.uint8, torch.float64]


@st.composite
def views(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Draw up to six tensors that lie anywhere, in any stride, in two storages of 64 bytes."""
    bases = [torch.arange(64, dtype=torch.uint8), torch.arange(64, 128, dtype=torch.uint8)]
    found: dict[str, torch.Tensor] = {}
    for index in range(draw(st.integers(1, 6))):
        flat = bases[draw(st.integers(0, 1))].view(draw(st.sampled_from(DTYPES)))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        stride = tuple(draw(st.integers(0, 5)) for _ in shape)
        reach = sum(max(n - 1, 0) * s for n, s in zip(shape, stride, strict=True))
        if reach >= flat.numel():
            continue
        offset = draw(st.integers(0, flat.numel() - 1 - reach))
        found[f"t{index}"] = flat.as_strided(shape, stride, offset)
    return found


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


def overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.numel() == 0 or b.numel() == 0:
        return False
    (a_start, a_stop), (b_start, b_stop) = extent(a), extent(b)
    return a_start < b_stop and b_start < a_stop


@settings(max_examples=150, deadline=None)
@given(tensors=views())
def test_views_come_back_and_share_where_they_did(
    tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = torch.nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    path = tmp_path_factory.mktemp("x") / "x.mpt"
    write_archive(path, ArchiveContent(state=collect_state(module)))
    with open_archive(path) as archive:
        archive.verify("full")
        found = archive.read_tensors()
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes()
    for one in tensors:
        for other in tensors:
            if overlap(tensors[one], tensors[other]):
                distance = tensors[one].data_ptr() - tensors[other].data_ptr()
                lone = all(not overlap(tensors[one], tensors[name]) for name in tensors if name != one)
                if not lone:
                    assert found[one].data_ptr() - found[other].data_ptr() == distance
