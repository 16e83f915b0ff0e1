"""A share of many teams: what is wrong is said once with how many files have it, and a gate can be set."""

from __future__ import annotations

import datetime
import errno
import json
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from mpt_format import audit_checkpoint
from mpt_format.audit._causes import Causes, find_alike, find_causes, find_folder
from mpt_format.cli.group import mpt

from .corpus import Stage


def run(*arguments: object) -> Result:
    return CliRunner().invoke(mpt, ["audit", *map(str, arguments)])


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """Two teams with one fault in common, a third without, and a note beside the checkpoints."""
    folder = tmp_path / "share"
    for at in range(3):
        for team in ("a", "b", "c"):
            (folder / team / f"run{at}").mkdir(parents=True)
        torch.save({"w": torch.ones(2), "stage": Stage.TRAINING}, folder / "a" / f"run{at}" / "model.pt")
        torch.save({"w": torch.ones(2), "when": datetime.datetime(2024, 1, 1)}, folder / "b" / f"run{at}" / "model.pt")
        torch.save({"w": torch.ones(2)}, folder / "c" / f"run{at}" / "model.pt")
    torch.save({"w": torch.ones(2), "stage": Stage.TRAINING}, folder / "b" / "last.pt")
    (folder / "c" / "notes.txt").write_text("lr 3e-4 was better")
    return folder


def count(share: Path) -> Causes:
    causes = Causes()
    for file in sorted(share.rglob("*")):
        if file.is_file():
            audit = audit_checkpoint(file)
            causes.add(audit.verdict, find_causes(audit), find_folder(str(file), str(file.relative_to(share))))
    return causes


def test_each_cause_is_counted_once_for_a_file_and_by_folder(share: Path) -> None:
    causes = count(share)
    ranked = causes.ranked()
    assert [(cause.severity, cause.count) for cause in ranked] == [
        ("notckpt", 1),
        ("incompatible", 4),
        ("incompatible", 3),
    ]
    assert ranked[1].files == {str(share / "a"): 3, str(share / "b"): 1}
    assert ranked[1].what.startswith("enum (")
    assert ranked[1].example == f"root['stage'] in {share / 'a' / 'run0' / 'model.pt'}"
    assert [cause.what for cause in causes.ranked(str(share / "b"))] == ["datetime (datetime.datetime)", ranked[1].what]
    assert causes.verdicts[str(share / "c")] == {"ok": 3, "notckpt": 1}


@pytest.mark.parametrize(
    ("file", "place", "folder"),
    [
        ("runs/x.pt", "x.pt", "runs"),
        ("x.pt", "x.pt", "."),
        ("runs/a/x.pt", "a/x.pt", "runs/a"),
        ("runs/a/b/c/x.pt", "a/b/c/x.pt", "runs/a"),
        ("/share/runs/a/x.pt", "runs/a/x.pt", "/share/runs"),
    ],
)
def test_file_counts_for_the_folder_below_the_one_that_was_named(file: str, place: str, folder: str) -> None:
    assert find_folder(file, place) == folder


def test_causes_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpt_format.audit._causes._MOST_CAUSES", 2)
    causes = Causes()
    for at in range(10):
        path = tmp_path / f"{at}.pkl"
        path.write_bytes(b"cmodule%d\nname\n." % at)
        audit = audit_checkpoint(path)
        causes.add(audit.verdict, find_causes(audit), "folder")
    assert len(causes.by_key) <= 4  # two, and one more for what else is suspicious, incompatible
    assert causes.verdicts["folder"].total() == 10


def test_table_ends_with_folders_and_causes(share: Path) -> None:
    told = run(share)
    assert told.exit_code == 4
    folders, causes = told.stdout.index("\nfolders:"), told.stdout.index("\nwhat is wrong")
    assert folders < causes
    assert told.stdout.count("datetime (datetime.datetime)") == 1
    assert f"{share / 'a'} (3), {share / 'b'} (1)" in told.stdout
    assert told.stdout.splitlines()[-1] == "3 ok, 7 incompatible, 1 notckpt"


def test_good_files_leave_nothing_to_say(share: Path) -> None:
    told = run(share / "c" / "run0", share / "c" / "run1")
    assert told.exit_code == 0
    assert "folders:" not in told.stdout and "what is wrong" not in told.stdout


def test_files_that_say_the_same_share_one_part_of_a_report(share: Path, tmp_path: Path) -> None:
    report, page = tmp_path / "out.md", tmp_path / "out.html"
    run(share, "--report", report, "--html", page)
    text, html = report.read_text(), page.read_text()
    assert "## What is wrong" in text and "## Folders" in text
    assert text.count("### Findings") == 4  # enum, datetime, good, the note
    assert html.count("<h3>Findings</h3>") == 4
    for file in share.rglob("*.pt"):
        name = str(file).replace("_", "\\_")
        assert name in text and str(file) in html


def test_report_of_one_file_has_no_part_about_many(share: Path, tmp_path: Path) -> None:
    run(share / "b" / "last.pt", "--report", tmp_path / "out.md", "--html", tmp_path / "out.html")
    assert "## What is wrong" not in (tmp_path / "out.md").read_text()
    assert "What is wrong" not in (tmp_path / "out.html").read_text()


def test_alike_means_findings_shapes_and_answers(share: Path) -> None:
    torch.save({"w": torch.ones(3), "stage": Stage.TRAINING}, share / "wider.pt")
    files = [share / "a" / "run0" / "model.pt", share / "a" / "run1" / "model.pt", share / "wider.pt"]
    assert find_alike([audit_checkpoint(file) for file in files]) == [[0, 1], [2]]


def test_verdict_that_is_tolerated_does_not_count_for_the_exit_code(share: Path) -> None:
    assert run(share / "c", "--tolerate", "notckpt").exit_code == 0
    assert run(share, "--tolerate", "notckpt").exit_code == 1
    assert run(share, "--tolerate", "notckpt", "--tolerate", "incompatible").exit_code == 0
    (share / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert run(share, "--tolerate", "notckpt", "--tolerate", "incompatible").exit_code == 3
    assert run(share, "--tolerate", "dangerous").exit_code == 2
    assert run(share / "c", share / "missing.pt", "--tolerate", "notckpt").exit_code == 4


def test_document_that_cannot_be_written_is_refused_before_the_first_audit(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpt_format.audit.audit_checkpoint", lambda *a, **k: pytest.fail("a file was audited"))
    told = run(share, "--report", tmp_path / "nowhere" / "out.md")
    assert told.exit_code == 1 and "no folder" in told.stderr


def test_output_on_a_full_disk_is_told_in_a_line(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*texts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mpt_format.cli.audit.print_table", refuse)
    told = run(share)
    assert told.exit_code == 1
    assert "No space left on device" in told.stderr and isinstance(told.exception, SystemExit)


def test_gate_minds_what_is_new(share: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    known.write_text(run(share, "--json").stdout)
    before = run(share, "--known", known)
    assert before.exit_code == 0
    assert before.stdout.splitlines()[-1] == "3 ok, 8 known"
    assert "what is wrong" not in before.stdout

    torch.save({"w": torch.ones(2), "stage": Stage.TRAINING}, share / "c" / "new.pt")
    after = run(share, "--known", known, "--report", tmp_path / "news.md")
    assert after.exit_code == 1
    assert after.stdout.splitlines()[-1] == "3 ok, 1 incompatible, 8 known"
    assert "new.pt" in (tmp_path / "news.md").read_text() and "last.pt" not in (tmp_path / "news.md").read_text()
    assert len(json.loads(run(share, "--known", known, "--json").stdout)) == 12


def test_known_file_with_another_cause_is_new(share: Path, tmp_path: Path) -> None:
    known, file = tmp_path / "known.json", share / "b" / "last.pt"
    known.write_text(run(file, "--json").stdout)  # of one file an object
    assert run(file, "--known", known).exit_code == 0
    torch.save({"w": torch.ones(5), "other": Stage.TRAINING}, file)
    assert run(file, "--known", known).exit_code == 0  # the same cause at another place
    torch.save({"w": torch.ones(5), "when": datetime.datetime(2024, 1, 1)}, file)
    assert run(file, "--known", known).exit_code == 1
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    known.write_text(run(file, "--json").stdout)
    assert run(file, "--known", known).exit_code == 3  # a dangerous file is never known


@pytest.mark.parametrize("text", ["", "[1]", "{}", '[{"file": "x"}]', "[" * 100_000, '{"file": [], "findings": []}'])
def test_list_of_what_is_known_is_read_strictly(share: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "known.json").write_text(text)
    told = run(share, "--known", tmp_path / "known.json")
    assert told.exit_code == 1 and "--json" in told.stderr
    assert run(share, "--known", tmp_path / "missing.json").exit_code == 1


def test_example_names_the_pickle_inside_a_file(tmp_path: Path) -> None:
    torch.save({"stage": Stage.TRAINING}, tmp_path / "inner.pt")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.pt", "inner.pt")
    (cause, *_) = [one for one in find_causes(audit_checkpoint(tmp_path / "outer.zip")) if one.key[1] == "enum"]
    assert cause.example.startswith("root['stage'] in ") and "inner.pt" in cause.example
    assert cause.example.endswith(f" in {tmp_path / 'outer.zip'}")
