"""Many checkpoints at once: places are kept, what is done is passed over, what fails is told."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from mpt_format import open_archive
from mpt_format.cli.convert import convert
from mpt_format.errors import ConversionError
from safetensors.torch import load_file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(convert, [str(argument) for argument in arguments])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder as people have them: two checkpoints of one name, one that needs a choice, and a note."""
    folder = tmp_path / "runs"
    for at, name in enumerate(("a", "b")):
        (folder / name).mkdir(parents=True)
        torch.save({"w": torch.full((2,), float(at))}, folder / name / "model.pt")
    torch.save({"one": {"w": torch.ones(2)}, "two": {"w": torch.ones(2)}}, folder / "twins.pt")
    (folder / "notes.txt").write_text("lr 3e-4 was better")
    return folder


def statuses(result: Result) -> dict[str, str]:
    return {Path(item["source"]).name: item["status"] for item in json.loads(result.stdout)}


def test_places_are_kept_and_failures_do_not_stop_the_rest(runs: Path, tmp_path: Path) -> None:
    result = run(runs, "--into", tmp_path / "out", "--json")
    assert result.exit_code == 1
    assert statuses(result) == {"model.pt": "converted", "notes.txt": "no checkpoint", "twins.pt": "failed"}
    for at, name in enumerate(("a", "b")):
        with open_archive(tmp_path / "out" / name / "model.pt.mpt") as archive:
            assert archive.read_tensors()["w"].tolist() == [at, at]
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {"model.pt.mpt"}
    assert "several state dicts" in result.stderr and "[4/4]" in result.stderr


def test_files_of_a_glob_keep_their_places_below_its_plain_part(runs: Path, tmp_path: Path) -> None:
    assert run(runs / "**" / "model.pt", "--into", tmp_path / "out").exit_code == 0
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.mpt")}
    assert written == {"a/model.pt.mpt", "b/model.pt.mpt"}


def test_second_run_goes_on_where_the_first_stopped(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(runs, "--into", out)
    (out / "a" / "model.pt.mpt").unlink()
    kept = (out / "b" / "model.pt.mpt").stat().st_mtime_ns
    table = run(runs, "--into", out).stdout
    assert "1 converted, 1 done before, 1 no checkpoint, 1 failed" in table
    assert (out / "b" / "model.pt.mpt").stat().st_mtime_ns == kept


def test_output_of_another_file_is_not_written_over(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(runs / "a" / "model.pt", "--into", out)
    before = (out / "model.pt.mpt").read_bytes()
    result = run(runs / "b" / "model.pt", "--into", out)
    assert result.exit_code == 1 and "was not made from" in result.stderr
    assert (out / "model.pt.mpt").read_bytes() == before


def test_changed_source_is_told_from_the_one_that_was_converted(runs: Path, tmp_path: Path) -> None:
    run(runs / "a", "--into", tmp_path / "out", "--as", "safetensors")
    assert load_file(tmp_path / "out" / "model.pt.safetensors")["w"].tolist() == [0, 0]
    assert run(runs / "a", "--into", tmp_path / "out", "--as", "safetensors").exit_code == 0
    torch.save({"w": torch.full((2,), 5.0)}, runs / "a" / "model.pt")
    assert run(runs / "a", "--into", tmp_path / "out", "--as", "safetensors").exit_code == 1


def test_results_inside_the_folder_are_not_taken_for_sources(runs: Path) -> None:
    first = statuses(run(runs, "--into", runs / "out", "--json"))
    assert set(statuses(run(runs, "--into", runs / "out", "--json"))) == set(first)
    assert not (runs / "out" / "out").exists()


def test_options_hold_for_every_file(runs: Path, tmp_path: Path) -> None:
    result = run(runs / "twins.pt", "--into", tmp_path / "out", "--state-path", "root['two']", "--weights-only")
    assert result.exit_code == 0, result.output
    assert "1 converted" in result.stdout


def test_one_output_or_one_folder(runs: Path, tmp_path: Path) -> None:
    assert run(runs / "twins.pt").exit_code == 2
    assert run(runs / "twins.pt", "-o", tmp_path / "x.mpt", "--into", tmp_path).exit_code == 2
    assert run(runs / "a" / "model.pt", runs / "b" / "model.pt", "-o", tmp_path / "x.mpt").exit_code == 2


def test_what_is_no_file_is_passed_over_or_told(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "up").symlink_to(folder)
    torch.save({"w": torch.ones(1)}, folder / "model.pt")
    assert statuses(run(folder, "--into", tmp_path / "out", "--json")) == {"model.pt": "converted"}
    missing = run(tmp_path / "missing.pt", "--into", tmp_path / "out")
    assert missing.exit_code == 1 and "No such file" in missing.stderr


def test_failed_conversion_leaves_the_old_output(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.mpt"
    run(runs / "a" / "model.pt", "-o", target)
    before = target.read_bytes()
    monkeypatch.setattr("mpt_format.convert._convert._digest", lambda payload: "0" * 64)
    result = run(runs / "b" / "model.pt", "-o", target)
    assert isinstance(result.exception, ConversionError)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.mpt"]


def test_error_keeps_its_facts_through_pickle(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html><html></html>")
    told = run(tmp_path / "page.html", "-o", tmp_path / "x.mpt").exception
    assert isinstance(told, ConversionError) and told.verdict == "notckpt"
    again = pickle.loads(pickle.dumps(told))
    assert (str(again), again.verdict, again.refusals) == (str(told), told.verdict, told.refusals)
