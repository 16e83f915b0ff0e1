"""Several processes say what one says, in its order; one that dies loses its own file; Ctrl-C leaves no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from mpt_format import AuditError
from mpt_format.cli import audit as command
from mpt_format.cli import jobs
from mpt_format.cli.audit import audit
from mpt_format.cli.jobs import do_in_processes

from .corpus import Stage
from .deadly import shout


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    for at in range(5):
        torch.save({f"w{at}": torch.ones(2, at)}, files / f"good{at}.pt")
    torch.save({"stage": Stage.TRAINING}, files / "enum.pt")
    (files / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (files / "page.pt").write_text("<!doctype html><html></html>")
    return files


@pytest.mark.parametrize("options", [(), ("--json",), ("--json", "--max-opcodes", 3)])
def test_several_processes_print_what_one_prints(folder: Path, options: tuple[object, ...]) -> None:
    paths = (folder, folder / "missing.pt", folder / "good0.pt")
    one, three = (run(*paths, *options, "--jobs", number) for number in (1, 3))
    assert three.stdout == one.stdout
    assert three.stderr == one.stderr
    assert three.exit_code == one.exit_code == 3


def test_several_processes_write_the_same_report_and_page(folder: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        run(folder, "--report", tmp_path / f"{number}.md", "--html", tmp_path / f"{number}.html", "--jobs", number)
    assert (tmp_path / "1.md").read_text() == (tmp_path / "2.md").read_text()
    assert (tmp_path / "1.html").read_text() == (tmp_path / "2.html").read_text()


def test_no_job_is_a_usage_error(folder: Path) -> None:
    assert run(folder, "--jobs", 0).exit_code == 2


def test_several_jobs_are_chosen_for_many_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4), raising=False)
    chosen = [command._choose_jobs(count) for count in (1, 900, 1_100, 100_000)]
    assert chosen == [0, 1, 2, 4]


def test_answers_and_errors_come_in_the_order_of_the_names() -> None:
    names = [f"odd {at}" if at % 7 == 3 else f"name {at}" for at in range(300)]
    answers = [str(answer) for answer in do_in_processes(names, shout, 3)]
    assert answers == [name if name.startswith("odd") else name.upper() for name in names]


@pytest.mark.parametrize("deadly", [[0], [59, 60], [119]])
def test_a_name_that_ends_its_process_is_told_and_no_other_is_lost(deadly: list[int]) -> None:
    names = [f"deadly {at}" if at in deadly else f"name {at}" for at in range(120)]
    answers = list(do_in_processes(names, shout, 2))
    assert [at for at, answer in enumerate(answers) if isinstance(answer, AuditError)] == deadly
    assert all(answer == names[at].upper() or names[at] in str(answer) for at, answer in enumerate(answers))
    assert len(answers) == len(names)


def test_one_process_does_it_where_no_others_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError("no semaphores here")

    monkeypatch.setattr(jobs, "_start", refuse)
    assert list(do_in_processes(["a", "b"], shout, 2)) == ["A", "B"]


def test_answers_that_nobody_waits_for_are_given_up() -> None:
    answers = do_in_processes([f"name {at}" for at in range(400)], shout, 2)
    assert next(answers) == "NAME 0"
    answers.close()
    assert list(answers) == []


def test_an_interrupt_ends_all_processes_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "0.pkl").write_bytes(b"\x80\x02N.")
    (tmp_path / "1.pkl").write_bytes(b"\x80\x02" + b"N0" * 7_000_000 + b"N.")
    for at in range(2, 12):
        (tmp_path / f"{at}.pkl").hardlink_to(tmp_path / "1.pkl")
    names = [tmp_path / f"{at}.pkl" for at in range(12)]
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "mpt_format", "audit", "--json", "--jobs", "2", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"[\n"  # the first answer is there, the workers read the others
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert b"Traceback" not in said


def test_json_of_several_processes_is_one_list(folder: Path) -> None:
    documents = json.loads(run(folder, "--json", "--jobs", 2).stdout)
    assert [Path(document["file"]).name for document in documents] == sorted(path.name for path in folder.iterdir())
