"""`mpt audit`: what is in these checkpoints, would torch load them, and what to write instead; never imports torch.

Exit codes: 0 ok, 1 incompatible or suspicious, 2 usage, 3 dangerous, 4 malformed or not a checkpoint; for many files
the worst verdict decides, and dangerous is the worst.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from mpt_format.audit import DEFAULT_LIMITS, VERDICTS, FileAudit, Limits, worst_verdict
from mpt_format.audit._causes import Causes, find_folder
from mpt_format.cli.audit_answer import AuditAnswer, Wanted, answer_file
from mpt_format.cli.files import Unreadable, expand_paths
from mpt_format.cli.output import format_json, print_json_texts, print_table
from mpt_format.errors import AuditError, escape_text

if TYPE_CHECKING:
    from mpt_format.audit._html import TreeNode
    from mpt_format.audit._result import Verdict
    from mpt_format.cli.known import KnownAudits

    Page: TypeAlias = tuple[FileAudit, TreeNode | None]

GENERATORS = "mpt.checkpoint_generators"
"""Entry-point group of functions `generate(path)` that write one careless checkpoint each."""

_EXIT_CODES = {"ok": 0, "incompatible": 1, "suspicious": 1, "dangerous": 3, "malformed": 4, "notckpt": 4}
_UNREADABLE = 4
_MANY = 20
"""So many files are worth a progress bar."""
_FILES_PER_JOB = 500
"""A process takes as long to start as so many small files take to read."""


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path())
@click.option("--summary", is_flag=True, help="Print the table only, also for one file.")
@click.option(
    "--tolerate",
    multiple=True,
    type=click.Choice(VERDICTS[1:-1]),
    metavar="VERDICT",
    help="A verdict that does not count for the exit code; may be repeated.",
)
@click.option(
    "--known",
    "known_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="JSON of an earlier audit: only what is new is told, and counts for the exit code.",
)
@click.option(
    "--max-opcodes", type=click.IntRange(min=1), metavar="COUNT", help="Stop reading a pickle after so many turns."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Read in so many processes; by default in one for each core where there are many files.",
)
@click.option("--generate", metavar="NAME", help="Write a checkpoint in the careless style: see --generate list.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="What --generate writes.")
@click.option(
    "--report", type=click.Path(dir_okay=False), metavar="FILE", help="Write the findings document (Markdown)."
)
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write one page with the object tree.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the audit as JSON: an object for one file, else a list.")
def audit(
    paths: tuple[str, ...],
    as_json: bool,
    report: str | None,
    html_path: str | None,
    summary: bool,
    max_opcodes: int | None,
    generate: str | None,
    output: str | None,
    tolerate: tuple[Verdict, ...] = (),
    jobs: int | None = None,
    known_path: str | None = None,
) -> None:
    """Say what keeps checkpoints from loading under weights_only=True, and where.

    PATH is a file, a folder or a glob. Nothing in a file is executed, and torch is not imported. Exit code 0: ok,
    1: incompatible or suspicious, 3: dangerous, 4: malformed or no checkpoint; of many files the worst.

    \b
    Examples:
      mpt audit old.pt
      mpt audit old.pt --json | jq '.findings[].path'
      mpt audit runs/ --report findings.md --html findings.html
      mpt audit archive/ --json --jobs 8 > audits.json
      mpt audit runs/ --tolerate notckpt    (a gate for a folder that also holds notes)
      mpt audit --generate morphogenetic -o careless.pt
    """  # noqa: D301
    if generate is not None:
        _generate(generate, output)
        return
    if not paths:
        raise click.UsageError("Name at least one file, folder or glob.")
    limits = DEFAULT_LIMITS if max_opcodes is None else Limits(opcodes=max_opcodes)
    unreadable: list[Unreadable] = []
    found = list(expand_paths(paths, unreadable))
    files = [file for file, _ in found]
    if not files and not unreadable:
        raise click.UsageError(f"No file matches {', '.join(escape_text(path) for path in paths)}.")
    for path in filter(None, (report, html_path)):
        _check_writable(path)
    many = len(files) + len(unreadable) > 1
    wanted = Wanted(
        limits=limits,
        json=as_json,
        audit=report is not None or not (as_json or summary or many),
        tree=html_path is not None,
    )
    told = _Told(folders={file: find_folder(file, place) for file, place in found})
    if known_path is not None:
        from mpt_format.cli.known import read_known

        told.known, summary = read_known(known_path), True
    jobs = min(len(files), jobs or _choose_jobs(len(files)))
    documents = _tell_each(files, _answer_each(files, partial(answer_file, wanted=wanted), jobs), unreadable, told)
    if not as_json:
        deque(documents, maxlen=0)
    elif many:
        print_json_texts(documents)
    else:
        for text in documents:
            click.echo(text)
    if report is not None:
        from mpt_format.audit._markdown import format_report

        _write_text(report, format_report(told.audits, told.causes))
    if html_path is not None:
        from mpt_format.audit._html import format_html

        _write_text(html_path, format_html(told.pages, told.causes))
    if not as_json:
        _print(told, summary or many)
    code = _EXIT_CODES[worst_verdict(verdict for verdict in told.counts if verdict not in tolerate)]
    if told.errors and code != _EXIT_CODES["dangerous"]:
        code = _UNREADABLE
    sys.exit(code)


@dataclass(slots=True, kw_only=True)
class _Told:
    """What is left to say when every file was audited: of a hundred thousand files one row each, and no more."""

    errors: list[AuditError] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    """Whole answers, where they are wanted."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    counts: Counter[Verdict] = field(default_factory=Counter)
    folders: dict[str, str] = field(default_factory=dict)
    """File -> the folder that it counts for."""
    causes: Causes = field(default_factory=Causes)
    known: KnownAudits | None = None
    known_count: int = 0

    @property
    def audits(self) -> list[FileAudit]:
        """The whole answers without their trees."""
        return [audit for audit, _ in self.pages]


def _tell_each(
    files: list[str], answers: Iterator[AuditAnswer | AuditError], unreadable: list[Unreadable], told: _Told
) -> Iterator[str]:
    """Keep what is left to say of one file after the other, and give each one's JSON text when it is done."""
    for name, error in unreadable:
        told.errors.append(error)
        yield format_json({"file": name, "error": str(error)})
    with _progress(answers, len(files)) as shown:
        for name, answer in zip(files, shown, strict=True):
            if isinstance(answer, AuditError):
                told.errors.append(answer)
                yield format_json({"file": name, "error": str(answer)})
                continue
            if told.known is not None and told.known.holds(name, answer.verdict, answer.causes):
                told.known_count += 1
                yield answer.json or ""
                continue
            if answer.audit is not None:
                told.pages.append((answer.audit, answer.tree))
            told.rows.append(answer.row)
            told.counts[answer.verdict] += 1
            told.causes.add(answer.verdict, answer.causes, told.folders[name])
            yield answer.json or ""


def _choose_jobs(count: int) -> int:
    """How many processes are worth starting for so many files: at most one for each core that may be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, count // _FILES_PER_JOB)


def _answer_each(
    files: list[str], answer: Callable[[str], AuditAnswer], jobs: int
) -> Iterator[AuditAnswer | AuditError]:
    """The answer or the error to each file, in their order."""
    if jobs > 1:
        from mpt_format.cli.jobs import do_in_processes

        yield from do_in_processes(files, answer, jobs)
        return
    for name in files:
        try:
            yield answer(name)
        except AuditError as error:
            yield error


def _progress(
    answers: Iterator[AuditAnswer | AuditError], count: int
) -> AbstractContextManager[Iterable[AuditAnswer | AuditError]]:
    """The answers, behind a bar where many of them are waited for at a terminal."""
    if count < _MANY or not sys.stderr.isatty():
        return nullcontext(answers)
    return click.progressbar(answers, length=count, label="auditing", file=sys.stderr)


def _print(told: _Told, as_table: bool) -> None:
    from mpt_format.audit._text import count_verdicts, format_audit, format_causes

    if as_table and (told.rows or told.known_count):
        ranks: dict[str, int] = {verdict: -rank for rank, verdict in enumerate(VERDICTS)}
        ordered = sorted(told.rows, key=lambda row: ranks[row[0]])
        print_table(("verdict", "container", "findings", "newest torch", "file"), ordered)
        for line in format_causes(told.causes) if len(told.rows) > 1 else ():
            click.echo(line)
        counts = [count_verdicts(told.counts)] if told.counts else []
        counts += [f"{told.known_count} known"] if told.known_count else []
        counts += [f"{len(told.errors)} could not be read"] if told.errors else []
        click.echo("\n" + ", ".join(counts))
    elif not as_table:
        for one in told.audits:
            click.echo(format_audit(one))
    for error in told.errors:
        click.echo(escape_text(str(error)), err=True)


def _check_writable(path: str) -> None:
    """Refuse a document that could not be written before hours are spent on what is in it."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise AuditError(f"{escape_text(path)} cannot be written: there is no folder {escape_text(str(folder))}")
    if not os.access(folder, os.W_OK):
        raise AuditError(f"{escape_text(path)} cannot be written: the folder {escape_text(str(folder))} is read only")


def _write_text(path: str, text: str) -> None:
    """Write a document beside its target, then put it in place."""
    import secrets  # brings hashlib: not paid by those who write nothing

    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AuditError(f"{escape_text(path)} cannot be written: {error.strerror or error}") from error


def _generate(name: str, output: str | None) -> None:
    from importlib.metadata import entry_points  # brings the email package: not paid by an audit

    found = {entry.name: entry for entry in entry_points(group=GENERATORS)}
    if name == "list":
        for known in sorted(found):
            click.echo(known)
        return
    if name not in found:
        listed = ", ".join(sorted(found)) or "none: install a distribution that provides them, such as model-zoo"
        raise click.UsageError(f"No generator {escape_text(name)!r}; there are: {listed}.")
    if output is None:
        raise click.UsageError("--generate needs -o FILE.")
    found[name].load()(Path(output))
    click.echo(f"wrote {escape_text(output)}; now: mpt audit {escape_text(output)}")
