"""A checkpoint of a wrapped module is converted without the wrapper, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mpt_format import ConversionError, convert_checkpoint, open_archive
from mpt_format.convert._key_map import find_shipped_map
from torch import nn


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_the_wrapper_is_left_behind_and_the_numbers_are_the_same(tmp_path: Path, prefix: str) -> None:
    plain = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()
    torch.save({f"{prefix}{key}": value for key, value in plain.items()}, tmp_path / "ddp.pt")
    convert_checkpoint(tmp_path / "ddp.pt", tmp_path / "run.mpt", key_map=find_shipped_map("unwrapped"))
    with open_archive(tmp_path / "run.mpt") as archive:
        found = archive.read_tensors()
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[key], plain[key]) for key in plain)


@pytest.mark.parametrize("beside", ["step", "body.module.weight"])
def test_a_wrapper_around_a_part_is_refused(tmp_path: Path, beside: str) -> None:
    torch.save({"module.weight": torch.zeros(2), beside: torch.zeros(2)}, tmp_path / "part.pt")
    with pytest.raises(ConversionError):
        convert_checkpoint(tmp_path / "part.pt", tmp_path / "run.mpt", key_map=find_shipped_map("unwrapped"))
    assert not (tmp_path / "run.mpt").exists()
