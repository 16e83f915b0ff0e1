"""A file of another kind is named with the command that reads it, and a slip in a path is shown."""

from __future__ import annotations

import pickle
import shlex
from pathlib import Path

import pytest
import torch
from mpt_format import ArchiveNotFoundError, CorruptArchiveError, ForeignFileError, UnsafeArchiveError, open_archive
from safetensors.torch import save_file

from tests.mpt_format.test_cli import GOLDEN, run


def foreign(path: Path) -> ForeignFileError:
    with pytest.raises(ForeignFileError) as caught:
        open_archive(path)
    assert isinstance(caught.value, UnsafeArchiveError)
    return caught.value


def test_the_next_command_of_a_torch_file_works_as_it_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "my run.pt"
    torch.save({"weight": torch.ones(3)}, path)
    error = foreign(path)
    assert error.convertible
    audit, convert = (shlex.split(part) for part in error.next_step.split("`")[1::2])
    assert run(*audit[1:]).exit_code == 0
    assert run(*convert[1:]).exit_code == 0
    with open_archive(tmp_path / "my run.mpt") as archive:
        assert list(archive.tensors) == ["weight"]


def test_safetensors_and_pickles_are_told_as_convertible(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "weights.safetensors")
    torch.save({"weight": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    errors = [foreign(tmp_path / name) for name in ("weights.safetensors", "old.pt")]
    assert all(error.convertible for error in errors)
    assert errors[0].found != errors[1].found


@pytest.mark.parametrize(
    "head",
    [b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", b"<!doctype html><title>Log in</title>", b"{}"],
)
def test_what_stands_in_place_of_a_file_is_named(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "run.mpt"
    path.write_bytes(head)
    error = foreign(path)
    assert not error.convertible
    assert pickle.loads(pickle.dumps(error)).found == error.found


def test_a_damaged_archive_is_no_foreign_file(tmp_path: Path) -> None:
    data = GOLDEN.read_bytes()
    (tmp_path / "cut.mpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptArchiveError):
        open_archive(tmp_path / "cut.mpt")


def test_a_slip_in_a_path_is_shown_with_near_names(tmp_path: Path) -> None:
    (tmp_path / "trained.mpt").write_bytes(b"")
    with pytest.raises(ArchiveNotFoundError) as caught:
        open_archive(tmp_path / "traned.mpt")
    assert "trained.mpt" in caught.value.problems[0].message
    with pytest.raises(ArchiveNotFoundError) as caught:
        open_archive("nowhere/run.mpt")
    assert str(Path.cwd()) in caught.value.problems[0].message


def test_a_file_url_and_bytes_are_paths_as_well() -> None:
    for path in (GOLDEN.absolute().as_uri(), bytes(GOLDEN)):
        with open_archive(path) as archive:  # type: ignore[arg-type]  # bytes are taken, not promised
            assert archive.manifest.code is not None
