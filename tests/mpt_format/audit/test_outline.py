"""The outline of a tensor that was read in one step is that of its arguments, and none are made for it."""

from __future__ import annotations

import io

import pytest
import torch
from mpt_format.audit import DEFAULT_LIMITS, audit_bytes
from mpt_format.audit._containers import open_container
from mpt_format.audit._nodes import TensorCall
from mpt_format.audit._structure import key_value_pairs
from mpt_format.audit._tensors import find_tensor, outline_tensor

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)


def save(*, zipped: bool) -> tuple[bytes, dict[str, torch.Tensor]]:
    """Tensors of several dtypes and shapes, strided and empty ones among them."""
    tensors = {f"w{at}": torch.zeros(at % 4, at % 7 + 1, dtype=_DTYPES[at % 6]) for at in range(300)}
    tensors |= {"turned": torch.zeros(3, 5).T, "narrow": torch.zeros(9)[2:4], "scalar": torch.tensor(1.5)}
    stream = io.BytesIO()
    torch.save(tensors, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue(), tensors


def test_outline_is_that_of_the_arguments() -> None:
    root = open_container(save(zipped=True)[0], DEFAULT_LIMITS).get_root()
    assert root is not None
    nodes = [node for _, node in key_value_pairs(root.stream.root) or ()]
    read_whole = [node for node in nodes if type(node) is TensorCall]
    assert len(read_whole) > 250
    outlines = [outline_tensor(node) for node in nodes]
    assert all(node.source is not None for node in read_whole)
    for outline, node in zip(outlines, nodes, strict=True):
        record = find_tensor(node)
        assert outline is not None
        assert record is not None
        assert (outline.kind, outline.dtype, outline.shape) == (record.kind, record.dtype, record.shape)


@pytest.mark.parametrize("zipped", [False, True])
def test_top_level_tells_every_tensor_as_it_was_saved(zipped: bool) -> None:
    data, tensors = save(zipped=zipped)
    shown = audit_bytes(data, name="x").top_level
    assert len(shown) == DEFAULT_LIMITS.top_level
    for entry, (name, tensor) in zip(shown, tensors.items(), strict=False):
        assert (entry.key, entry.shape) == (repr(name), tuple(tensor.shape))
        assert entry.dtype == str(tensor.dtype).removeprefix("torch.")
