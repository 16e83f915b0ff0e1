"""What goes into an archive comes out of it: values, sharing, strides, versions, extra state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mpt_format import ArchiveContent, collect_state, open_archive, write_archive


class Everything(torch.nn.Module):
    """One module with every sort of state that a policy may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(4, 5)
        self.b = torch.nn.Linear(4, 5)
        self.b.weight = self.a.weight
        self.norm = torch.nn.BatchNorm1d(5)
        base = torch.arange(12.0)
        self.register_buffer("low", base[0:6])
        self.register_buffer("high", base[3:9].view(2, 3))
        self.register_buffer("transposed", torch.randn(3, 4).t())
        self.register_buffer("channels_last", torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
        self.register_buffer("scalar", torch.tensor(7))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("expanded", torch.ones(1).expand(7))
        self.register_buffer("every_other", torch.arange(20.0)[::2])
        self.restored: Any = None

    def get_extra_state(self) -> dict[str, Any]:
        return {"stage": "blending", "history": [1, 2.5, None, {"ä": True}]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.restored = state


@pytest.fixture
def module() -> Everything:
    torch.manual_seed(0)
    return Everything()


@pytest.fixture
def path(module: Everything, tmp_path: Path) -> Path:
    return write_archive(tmp_path / "run.mpt", ArchiveContent(state=collect_state(module))).path


def test_state_dict_comes_back_bit_for_bit_with_its_strides(module: Everything, path: Path) -> None:
    with open_archive(path) as archive:
        archive.verify("full")
        state = archive.read_state_dict()
    expected = module.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(state[name], tensor), name
            assert state[name].dtype == tensor.dtype
            if name != "every_other":  # holes between elements are not stored
                assert state[name].stride() == tensor.stride(), name


def test_module_versions_come_back(module: Everything, path: Path) -> None:
    with open_archive(path) as archive:
        assert archive.read_state_dict()._metadata == module.state_dict()._metadata  # type: ignore[attr-defined]


def test_tied_parameters_are_one_parameter_after_assign(path: Path) -> None:
    other = Everything()
    other.b = torch.nn.Linear(4, 5)
    with open_archive(path) as archive:
        other.load_state_dict(archive.read_state_dict(), strict=True, assign=True)
    assert other.b.weight is other.a.weight
    assert other.restored == {"stage": "blending", "history": [1, 2.5, None, {"ä": True}]}


def test_partly_overlapping_buffers_share_memory_again(path: Path) -> None:
    with open_archive(path) as archive:
        tensors = archive.read_tensors()
        assert archive.tensors["storage/0"].kind == "storage"
    assert "storage/0" not in tensors
    tensors["low"][3] = 99.0
    assert tensors["high"][0, 0] == 99.0


def test_writing_into_a_tensor_leaves_the_file_alone(path: Path) -> None:
    before = path.read_bytes()
    with open_archive(path) as archive:
        archive.read_tensors()["a.weight"].fill_(3.0)
        assert archive.read_tensors()["a.weight"].ne(3.0).all()
    assert path.read_bytes() == before


def test_tensors_outlive_the_archive(module: Everything, path: Path) -> None:
    with open_archive(path) as archive:
        tensors = archive.read_tensors("a.")
    path.unlink()
    assert torch.equal(tensors["a.weight"], module.a.weight)
    assert tensors.keys() == {"a.weight", "a.bias"}


def test_a_closed_archive_says_so(path: Path) -> None:
    with open_archive(path) as archive:
        pass
    with pytest.raises(ValueError, match="closed"):
        archive.read_member("manifest.json")


def test_two_saves_give_the_same_bytes(module: Everything, path: Path, tmp_path: Path) -> None:
    again = write_archive(tmp_path / "again.mpt", ArchiveContent(state=collect_state(module)))
    assert again.path.read_bytes() == path.read_bytes()
    dated = write_archive(
        tmp_path / "dated.mpt", ArchiveContent(state=collect_state(module), created="2026-11-22T00:00:00Z")
    )
    assert dated.sha256 != again.sha256
    assert dated.content_digest == again.content_digest
