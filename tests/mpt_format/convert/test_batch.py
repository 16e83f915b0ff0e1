"""Many checkpoints at once: places are kept, what is done is passed over, what fails is told."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from mpt_format import open_archive
from mpt_format.cli.convert import convert
from mpt_format.cli.group import mpt
from mpt_format.convert import _convert
from mpt_format.errors import ArchiveWriteError, ConversionError
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


def test_files_of_one_place_keep_the_folders_that_tell_them_apart(runs: Path, tmp_path: Path) -> None:
    (runs / "a" / "other.pt").write_bytes((runs / "a" / "model.pt").read_bytes())
    for named in ((runs / "a", runs / "b"), (runs / "a" / "model.pt", runs / "b" / "model.pt", runs / "a")):
        for status in ("converted", "done before"):
            result = run(*named, "--into", tmp_path / "out", "--json")
            assert set(statuses(result).values()) == {status}
        written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.mpt")}
        assert written == {"a/model.pt.mpt", "b/model.pt.mpt", "other.pt.mpt"}
        shutil.rmtree(tmp_path / "out")


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


def meddle(monkeypatch: pytest.MonkeyPatch, do: Callable[[Path, Path], object]) -> None:
    """Let something happen between writing an output and putting it in place."""
    verify = _convert._verify

    def verify_and_meddle(written: Path, plan: Any, digests: Any, slots: Any, target: Path) -> None:
        verify(written, plan, digests, slots, target)
        do(written, target)

    monkeypatch.setattr(_convert, "_verify", verify_and_meddle)


def test_two_runs_into_one_folder_may_make_the_same_output(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def finish_first(written: Path, target: Path) -> None:
        names.append(written.name)
        shutil.copyfile(written, target)

    meddle(monkeypatch, finish_first)
    for folder in ("first", "second"):
        assert run(runs / "a", "--into", tmp_path / folder).exit_code == 0
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["model.pt.mpt"]
    assert len(set(names)) == len(names) == 2  # no two outputs are verified under one name


def test_output_that_another_run_made_of_something_else_is_kept(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddle(monkeypatch, lambda written, target: target.write_bytes(b"made by another run"))
    assert run(runs / "a", "--into", tmp_path / "out").exit_code == 1
    assert (tmp_path / "out" / "model.pt.mpt").read_bytes() == b"made by another run"
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EINVAL, errno.EACCES])
def test_output_is_put_in_place_where_no_second_name_can_be_given(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise OSError(number, "the file system has no hard links")

    meddle(monkeypatch, lambda written, target: monkeypatch.setattr(os, "link", refuse))
    assert run(runs / "a", "--into", tmp_path / "out").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.pt.mpt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_full_or_read_only_folder_ends_the_batch(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(written: Path, content: object) -> None:
        raise ArchiveWriteError(str(written), [], number)

    with monkeypatch.context() as patched:
        patched.setattr(_convert, "write_archive", refuse)
        result = run(runs / "a" / "model.pt", runs / "twins.pt", runs / "notes.txt", "--into", tmp_path / "o", "--json")
    assert result.exit_code == 1
    assert statuses(result) == {"model.pt": "failed"}
    assert "2 files not tried" in result.stderr
    assert run(runs / "a" / "model.pt", "--into", tmp_path / "o").exit_code == 0


def test_folder_that_cannot_be_made_is_told_once(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = CliRunner().invoke(mpt, ["convert", str(runs), "--into", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_path_is_dropped_where_it_is(runs: Path, tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "odd": {1, 2}, "seen": object}, runs / "odd.pt")
    torch.save({"model": {"w": torch.ones(2)}}, runs / "even.pt")
    drops = ("--drop", "root['seen']", "--drop", "root['unseen']")
    result = run(runs / "odd.pt", runs / "even.pt", "--into", tmp_path / "out", *drops, "--json")
    assert result.exit_code == 0
    assert set(statuses(result).values()) == {"converted"}
    assert "root['unseen']" in result.stderr and "root['seen']" not in result.stderr
    alone = run(runs / "even.pt", "-o", tmp_path / "x.mpt", "--drop", "root['seen']")
    assert isinstance(alone.exception, ConversionError)  # of one file a path that leads nowhere is a slip


def test_one_reason_is_told_once_for_all_its_files(runs: Path, tmp_path: Path) -> None:
    for at in range(3):
        torch.save({"one": {"w": torch.ones(2)}, "two": {"w": torch.ones(2)}}, runs / f"twins{at}.pt")
    result = run(runs, "--into", tmp_path / "out")
    assert result.stdout.count("several state dicts") == 1
    assert "     4  several state dicts" in result.stdout


def test_file_name_that_is_no_unicode_is_spelled_out_in_the_account(tmp_path: Path) -> None:
    source = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.pt")
    torch.save({"w": torch.ones(1)}, tmp_path / "plain.pt")
    (tmp_path / "plain.pt").rename(source)
    assert run(source, "-o", tmp_path / "x.mpt").exit_code == 0
    with open_archive(tmp_path / "x.mpt") as archive:
        lineage: Any = archive.manifest.lineage
        assert lineage["conversion"]["source"]["name"] == "odd\\udcff.pt"


def test_inspect_names_the_source_and_lists_the_losses(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(1)}, "odd": {1, 2}}, tmp_path / "old.pt")
    run(tmp_path / "old.pt", "-o", tmp_path / "x.mpt")
    told = CliRunner().invoke(mpt, ["inspect", str(tmp_path / "x.mpt")])
    assert "from old.pt (torch-zip), root['model']" in told.stdout
    assert max(map(len, told.stdout.splitlines())) < 200
    losses = CliRunner().invoke(mpt, ["inspect", "--losses", str(tmp_path / "x.mpt")])
    assert "root['odd']" in losses.stdout and "a sorted list" in losses.stdout


def test_verify_passes_over_what_a_killed_conversion_left(runs: Path, tmp_path: Path) -> None:
    run(runs / "a", "--into", tmp_path / "out")
    (tmp_path / "out" / ".model.pt.mpt.0123456789ab.unverified.mpt").write_bytes(b"half")
    assert CliRunner().invoke(mpt, ["verify", str(tmp_path / "out")]).exit_code == 0


@pytest.mark.parametrize("form", ["mpt", "safetensors"])
def test_losses_are_told_once_for_all_files_also_of_what_was_done_before(runs: Path, tmp_path: Path, form: str) -> None:
    for at in range(3):
        torch.save({"model": {"w": torch.ones(2)}, "epochs": [{1}, {2}]}, runs / f"odd{at}.pt")
    told = [run(runs, "--into", tmp_path / "out", "--as", form).stdout for _ in range(2)]
    for output in told:
        assert "     3  root['epochs'][" in output
        assert output.count("a set -> ") == 1
    assert "5 done before" in told[1]


def test_interrupted_batch_says_so_and_goes_on_from_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(written: Path, target: Path) -> None:
        raise KeyboardInterrupt

    arguments = ["convert", str(runs / "a"), str(runs / "b"), "--into", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        meddle(patched, interrupt)
        told = CliRunner().invoke(mpt, arguments)
    assert told.exit_code == 130
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert CliRunner().invoke(mpt, arguments).exit_code == 0


def test_link_that_leads_nowhere_is_replaced(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "x.mpt").symlink_to(tmp_path / "gone.mpt")
    assert run(runs / "a" / "model.pt", "-o", tmp_path / "x.mpt").exit_code == 0
    assert (tmp_path / "x.mpt").is_file() and not (tmp_path / "x.mpt").is_symlink()
