"""`mpt audit`: what is in these checkpoints, would torch load them, and what to write instead; never imports torch.

Exit codes: 0 ok, 1 incompatible or suspicious, 2 usage, 3 dangerous, 4 malformed or not a checkpoint; for many files
the worst verdict decides, and dangerous is the worst.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mpt_format.audit import DEFAULT_LIMITS, VERDICTS, FileAudit, Limits, worst_verdict
from mpt_format.cli.output import print_json, print_table
from mpt_format.errors import AuditError, MptError, escape_text

GENERATORS = "mpt.checkpoint_generators"
"""Entry-point group of functions `generate(path)` that write one careless checkpoint each."""

_EXIT_CODES = {"ok": 0, "incompatible": 1, "suspicious": 1, "dangerous": 3, "malformed": 4, "notckpt": 4}
_UNREADABLE = 4
_IGNORED_FOLDERS = frozenset({".git", "__pycache__", ".venv", "node_modules"})


@click.command()
@click.argument("paths", nargs=-1, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print the audit as JSON: an object for one file, else a list.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write the findings document (Markdown).")
@click.option("--html", "html_path", type=click.Path(dir_okay=False), help="Write one page with the object tree.")
@click.option("--summary", is_flag=True, help="Print the table only, also for one file.")
@click.option("--max-opcodes", type=click.IntRange(min=1), help="Stop reading a pickle after so many turns.")
@click.option("--generate", metavar="NAME", help="Write a checkpoint in the careless style: see --generate list.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="The file that --generate writes.")
def audit(
    paths: tuple[str, ...],
    as_json: bool,
    report: str | None,
    html_path: str | None,
    summary: bool,
    max_opcodes: int | None,
    generate: str | None,
    output: str | None,
) -> None:
    """Say what keeps checkpoints from loading under weights_only=True, and where.

    FILE may be a file, a folder or a glob. Nothing in a file is executed, and torch is not imported.

    \b
    Examples:
      mpt audit old.pt
      mpt audit --json old.pt | jq '.findings[].path'
      mpt audit runs/ --report findings.md --html findings.html
      mpt audit --generate morphogenetic -o careless.pt
    """  # noqa: D301
    if generate is not None:
        _generate(generate, output)
        return
    if not paths:
        raise click.UsageError("Name at least one file, folder or glob.")
    limits = DEFAULT_LIMITS if max_opcodes is None else Limits(opcodes=max_opcodes)
    files = list(_expand(paths))
    if not files:
        raise click.UsageError(f"No file matches {', '.join(escape_text(path) for path in paths)}.")
    audits, errors = _audit_all(files, limits, html_path)
    if report is not None:
        from mpt_format.audit._markdown import format_report

        _write_text(report, format_report(audits))
    if as_json:
        documents: list[dict[str, object]] = [one.to_json() for one in audits]
        documents += [{"file": name, "error": str(error)} for name, error in errors]
        print_json(documents[0] if len(files) == 1 else documents)
    else:
        _print(audits, summary or len(files) > 1)
        for _, error in errors:
            click.echo(escape_text(str(error)), err=True)
    verdict = worst_verdict(one.verdict for one in audits)
    code = _EXIT_CODES[verdict]
    if errors and verdict != "dangerous":
        code = _UNREADABLE
    sys.exit(code)


def _expand(paths: tuple[str, ...]) -> Iterator[str]:
    """Files as given, the files of folders, and what globs match; each once, in order."""
    seen: set[str] = set()
    for path in paths:
        found: list[str]
        if os.path.lexists(path):
            found = list(_files_below(path)) if Path(path).is_dir() else [path]
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern may be absolute
            found = [name for match in matches for name in (_files_below(match) if Path(match).is_dir() else (match,))]
        else:
            found = [path]
        for name in found:
            if name not in seen:
                seen.add(name)
                yield name


def _files_below(folder: str) -> Iterator[str]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _IGNORED_FOLDERS)
        for name in sorted(names):
            path = os.path.join(base, name)  # noqa: PTH118 - os.walk gives text
            if Path(path).is_file():
                yield path


def _audit_all(
    files: list[str], limits: Limits, html_path: str | None
) -> tuple[list[FileAudit], list[tuple[str, MptError]]]:
    audits: list[FileAudit] = []
    errors: list[tuple[str, MptError]] = []
    pages = []
    with _progress(files) as names:
        for name in names:
            try:
                if html_path is None:
                    from mpt_format.audit import audit_checkpoint

                    audits.append(audit_checkpoint(name, limits=limits))
                else:
                    page = _audit_with_tree(name, limits)
                    audits.append(page[0])
                    pages.append(page)
            except AuditError as error:
                errors.append((name, error))
    if html_path is not None:
        from mpt_format.audit._html import format_html

        _write_text(html_path, format_html(pages))
    return audits, errors


def _audit_with_tree(name: str, limits: Limits):  # type: ignore[no-untyped-def]  # the tree's type needs jinja2's module
    from mpt_format.audit._audit import audit_container, open_file
    from mpt_format.audit._containers import open_container
    from mpt_format.audit._html import build_tree

    with open_file(name) as data:
        container = open_container(data, limits)
        one = audit_container(container, name=name, size_bytes=len(data), limits=limits)
        root = container.get_root()
        return one, build_tree(root, one, limits) if root is not None else None


def _progress(files: list[str]):  # type: ignore[no-untyped-def]  # click's progress bar is a private generic
    quiet = len(files) < 20 or not sys.stderr.isatty()
    return click.progressbar(files, label="auditing", file=None if quiet else sys.stderr, hidden=quiet)


def _print(audits: list[FileAudit], as_table: bool) -> None:
    from mpt_format.audit._text import format_audit, format_summary

    if not as_table:
        for one in audits:
            click.echo(format_audit(one))
        return
    ordered = sorted(audits, key=lambda one: -VERDICTS.index(one.verdict))
    print_table(("verdict", "container", "findings", "newest torch", "file"), format_summary(ordered))
    counts = {verdict: sum(one.verdict == verdict for one in audits) for verdict in VERDICTS}
    click.echo("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


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
