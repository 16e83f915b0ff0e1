"""The first level of an object is described entry by entry: every kind of tensor with its shape and dtype."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import pytest
import torch
from mpt_format.audit import audit_bytes
from torch import nn

from tests.attacks.audit.attacks import glob, p2, text, torch_zip

from .odd_calls import number, row


def _complex() -> torch.Tensor:
    return torch.ones(2, dtype=torch.complex64).conj()


TENSORS: dict[str, tuple[Callable[[], torch.Tensor], str, tuple[int, ...], str]] = {
    "dense": (lambda: torch.zeros(2, 3), "Tensor", (2, 3), "float32"),
    "of one number": (lambda: torch.tensor(1), "Tensor", (), "int64"),
    "empty": (lambda: torch.zeros(0, 3, dtype=torch.float8_e4m3fn), "Tensor", (0, 3), "float8_e4m3fn"),
    "of a newer dtype": (lambda: torch.zeros(3, dtype=torch.uint16), "Tensor", (3,), "uint16"),
    "parameter": (lambda: nn.Parameter(torch.zeros(4)), "Parameter", (4,), "float32"),
    "parameter of halves": (lambda: nn.Parameter(torch.zeros(2, dtype=torch.float16)), "Parameter", (2,), "float16"),
    "conjugated": (_complex, "Tensor", (2,), "complex64"),
    "meta": (lambda: torch.empty(3, 2, device="meta"), "meta Tensor", (3, 2), "float32"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "sparse Tensor", (3, 3), "float32"),
    "compressed": (lambda: torch.eye(3).to_sparse_csr(), "sparse Tensor", (3, 3), "float32"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.arange(4.0), 0.1, 2, torch.quint8), "quantized Tensor", (4,),
                  "quint8"),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensor_is_described_by_its_kind_shape_and_dtype(name: str, zipped: bool) -> None:
    make, kind, shape, dtype = TENSORS[name]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of its own types deprecated or in beta
        torch.save({"t": make()}, stream, _use_new_zipfile_serialization=zipped)
    (entry,) = audit_bytes(stream.getvalue(), name="made.pt").top_level
    assert (entry.key, entry.type, entry.shape, entry.dtype) == ("'t'", kind, shape, dtype)


def test_tensor_that_an_unknown_function_makes_is_a_tensor_of_an_unknown_kind() -> None:
    kind = glob("torch.nn.parameter", "Parameter")
    made = glob("torch._tensor", "_rebuild_from_type_v2") + row(glob("made.up", "f"), kind, row(number(1)), b"}") + b"R"
    data = torch_zip(p2(b"}" + text("t") + made + b"s"))
    (entry,) = audit_bytes(data, name="made.pt").top_level
    assert entry.type == "unknown Tensor"
