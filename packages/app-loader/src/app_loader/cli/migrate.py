"""`mpt migrate`: from an old archive to other code, proven and written as a new file; `draft` writes a revision."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from app_loader.cli._options import code_option, json_option, store_option
from app_loader.cli._pastable import PastableCommand
from app_loader.cli._verbs import Verbs

if TYPE_CHECKING:
    from policy_interface.migrations import Revision

    from app_loader.cli._zoo_here import ZooProject
    from app_loader.code import Code
    from app_loader.migration.batch import BatchItem
    from app_loader.migration.draft import Draft
    from app_loader.migration.proof import Proof
    from app_loader.migration.write import MigrationReport


_REVIEWED = re.compile(r"^\s+reviewed=True,", re.MULTILINE)
"""The line of a finished revision's file; the remarks of a draft say it too."""

_WIDTH = 100
"""Characters of a reason in a table."""


class _DefaultVerb(Verbs):
    """A group whose verb `run` may be left out: ``mpt migrate run.mpt`` is ``mpt migrate run run.mpt``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("migrate", cls=_DefaultVerb, subcommand_metavar="VERB ...")
def migrate() -> None:
    """Migrate archives to other code, prove it, and draft revisions.

    The verb `run` may be left out.

    \b
    Examples:
      mpt migrate run.mpt --to current -o new.mpt --prove
      mpt migrate runs/ --into migrated/
      mpt migrate draft run.mpt -o revision.py
      mpt migrate check
    """  # noqa: D301


@migrate.command("run", cls=PastableCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@code_option("current", spelling="--to", trained=False)
@click.option("--prove", is_flag=True, help="Print the largest difference of every output, old code beside new.")
@click.option("--unproven", is_flag=True, help="Write even when the proof fails; its lineage carries the difference.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="For one archive: the new one to write."
)
@click.option(
    "--into",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="For many archives and folders of them; goes on where it stopped.",
)
@store_option
@json_option("what was done")
@click.pass_context
def run(
    ctx: click.Context,
    paths: tuple[Path, ...],
    code: str,
    output: Path | None,
    folder: Path | None,
    prove: bool,
    unproven: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Migrate archives along the reviewed revisions.

    Nothing is written unless every tensor has its place, undoing gives the old bytes, and old and new code agree.

    \b
    Examples:
      mpt migrate run run.mpt -o new.mpt --prove
      mpt migrate run run.mpt --to 0.2.0 -o old.mpt
      mpt migrate run runs/ --into migrated/
    """  # noqa: D301
    from mpt_format.cli.output import print_json

    from app_loader.migration.batch import find_archives, migrate_many
    from app_loader.migration.write import migrate_archive
    from app_loader.store import Store

    if (output is None) == (folder is None):
        raise click.UsageError("give -o NEW.mpt for one archive, or --into FOLDER for many")
    opened = Store(store)
    if output is not None:
        if len(paths) != 1:
            raise click.UsageError("-o takes one archive; use --into FOLDER for many")
        report = migrate_archive(paths[0], output, code=code, store=opened, unproven=unproven)
        if as_json:
            print_json(report.to_document())
        else:
            _print_report(report, prove)
        return
    assert folder is not None
    items: list[BatchItem] = []
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"--into takes a folder, and {folder} is a file")
    total = len(find_archives(paths))
    if not total:
        click.echo(f"no *.mpt lies in {', '.join(map(str, paths))}", err=True)
    for item in migrate_many(paths, folder, code=code, store=opened, unproven=unproven):
        items.append(item)
        click.echo(f"[{len(items)}/{total}] {item.source}: {item.status}", err=True)
    if as_json:
        print_json([_item_document(item) for item in items])
    else:
        _print_items(items)
    if any(item.status == "failed" for item in items):
        ctx.exit(1)


@migrate.command("draft", cls=PastableCommand, short_help="Draft the revision that an archive needs.")
@click.argument("path", type=click.Path(path_type=Path))
@code_option("current", spelling="--to", trained=False)
@click.option("--no-trial", is_flag=True, help="Do not run both codes to settle what the signatures leave open.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The revision to write; standard output when left out.",
)
@store_option
def draft(path: Path, code: str, output: Path | None, store: str | None, no_trial: bool) -> None:
    """Draft the revision that an archive needs; a person finishes and reviews it.

    \b
    Examples:
      mpt migrate draft run.mpt -o revision.py
      mpt migrate draft run.mpt --to 0.2.0 --no-trial
    """  # noqa: D301
    from app_loader.migration.draft import draft_revision
    from app_loader.store import Store

    if output is not None and output.is_file() and _REVIEWED.search(output.read_text("utf-8", errors="replace")):
        raise click.UsageError(f"{output} holds a revision that a person reviewed; -o takes another file")
    drafted = draft_revision(path, code=code, store=Store(store), trial=not no_trial)
    if output is None:
        click.echo(drafted.text)
        click.echo(drafted.summary, err=True)
    else:
        output.write_text(drafted.text, encoding="utf-8")
        click.echo(f"{output}: {drafted.summary}")
        for line in _after_draft(drafted, path, store):
            click.echo(line)


def _after_draft(drafted: Draft, path: Path, store: str | None) -> Iterator[str]:
    """Yield what a person does with a draft that has something to say."""
    from app_loader.code import StoredCode
    from app_loader.commands import complete
    from app_loader.revisions.history import check_command, find_declared

    code = drafted.code
    if code is None or not drafted.changes:
        return
    listed = ", ".join(find_declared(code))
    if not listed:
        yield (
            f"{code.distribution} declares no revisions yet; in its pyproject.toml, below "
            '[project.entry-points."policy_interface.migrations"]: zoo = "PACKAGE.migrations:REVISIONS"'
        )
    where = listed or "those REVISIONS"
    if isinstance(code, StoredCode):
        yield f"next: finish it and list its REVISION in {where} of a release after {code.version}"
        return
    yield f"next: finish it, set reviewed=True and list its REVISION in {where}; then"
    yield f"  {check_command(code)}"
    yield "  " + complete("mpt migrate ARCHIVE -o new.mpt --prove", archive=str(path), store=store)


@migrate.command("check", cls=PastableCommand, short_help="Check the revisions of a zoo.")
@click.option(
    "--distribution",
    metavar="NAME",
    default="model-zoo",
    show_default="the zoo whose folder this is, else model-zoo",
    help="The distribution with the revisions.",
)
@code_option("current", trained=False)
@store_option
@json_option("revisions and problems")
@click.pass_context
def check(
    ctx: click.Context, distribution: str, code: str = "current", store: str | None = None, as_json: bool = False
) -> None:
    """Check the revisions of a zoo: one head, no cycle, every parent there, no draft, every summary and reason.

    Exit code 0: nothing is amiss, 1: something is.

    \b
    Examples:
      mpt migrate check
      mpt migrate check --distribution my-zoo --json
      mpt migrate check --code 0.2.0
    """  # noqa: D301
    from mpt_format.cli.output import print_json, print_table

    from app_loader.cli._zoo_here import find_zoo_here
    from app_loader.revisions.history import read_revisions

    here = None
    if ctx.get_parameter_source("distribution") == ParameterSource.DEFAULT:
        here = find_zoo_here(Path.cwd())
    found = _find_code(distribution if here is None else here.name, code, store, here)
    revisions = read_revisions(found)
    problems = list(_problems(revisions)) if revisions else []
    if as_json:
        print_json(
            {
                "distribution": found.distribution,
                "version": found.version,
                "revisions": [_revision_document(revision) for revision in revisions],
                "problems": problems,
            }
        )
    else:
        number = f"{len(revisions) or 'no'} revision{'s'[: len(revisions) != 1]}"
        click.echo(f"{found.distribution} {found.version}: {number}")
        if revisions:
            print_table(
                ("revision", "since", "parents", "kinds", "state"),
                ((r.id, r.since, ", ".join(r.parents) or "-", ", ".join(r.kinds), _state(r)) for r in revisions),
            )
        for problem in problems:
            click.echo(problem, err=True)
    if problems:
        ctx.exit(1)


def _find_code(distribution: str, version: str, store: str | None, here: ZooProject | None) -> Code:
    from packaging.utils import canonicalize_name

    from app_loader.cli._zoo_here import find_zoos_installed
    from app_loader.code import StoredCode, find_installed
    from app_loader.store import Store

    if version == "current":
        installed = find_installed(distribution)
        if installed is not None:
            return installed
        commands = [f"mpt migrate check --distribution {name}" for name in find_zoos_installed()]
        if here is not None:
            install = "uv pip install --no-deps"
            commands = [f"{install} --python {quote(sys.executable)} --editable {quote(str(here.folder))}"]
        raise click.UsageError(
            f"{distribution} is not installed beside this command, in {sys.prefix}; --distribution NAME takes another "
            "zoo, --code VERSION a stored one" + "".join(f"\nRun: {command}" for command in commands)
        )
    for entry in Store(store).entries():
        if (canonicalize_name(entry.distribution), entry.version) == (canonicalize_name(distribution), version):
            return StoredCode(entry)
    raise click.UsageError(f"{distribution} {version} is not in the store\nRun: mpt zoo list")


def _problems(revisions: Sequence[Revision]) -> Iterator[str]:
    from policy_interface.migrations import InvalidMigrationError, RevisionGraph

    from app_loader.revisions.unfinished import find_unfinished

    try:
        RevisionGraph.of(revisions).get_head()
    except InvalidMigrationError as error:
        yield from error.problems
    drafts = [r.id for r in revisions if not r.reviewed]
    if drafts:
        yield f"unreviewed drafts: {', '.join(drafts)}"
    for revision in revisions:
        yield from find_unfinished(revision)


def _revision_document(revision: Revision) -> dict[str, Any]:
    return {
        "id": revision.id,
        "since": revision.since,
        "parents": list(revision.parents),
        "kinds": list(revision.kinds),
        "state": _state(revision),
    }


def _state(revision: Revision) -> str:
    return "draft" if not revision.reviewed else "blocked" if revision.blocked else "reviewed"


def _print_report(report: MigrationReport, prove: bool) -> None:
    verb = "undone" if report.backwards else "applied"
    click.echo(f"{report.source} -> {report.target}")
    click.echo(f"revisions {verb}: {', '.join(report.route) or 'none'}")
    click.echo(f"up and down again: {report.round_trip}")
    click.echo(f"applied twice changes nothing: {'yes' if report.idempotent else 'NO'}")
    if report.proof is not None:
        click.echo(
            f"proof: {'held' if report.proof.held else 'NOT held'}, largest difference {report.proof.largest:.3g}"
        )
        if prove:
            _print_proof(report.proof)
        for reason in report.proof.missing:
            click.echo(f"not compared: {reason}")
        if report.missing_code:
            click.echo(f"to compare it too: {report.missing_code}")


def _print_proof(proof: Proof) -> None:
    from mpt_format.cli.output import print_table

    rows = [
        (where, d.name, "-" if d.note else f"{d.largest:.3g}", d.differing, d.elements, d.note)
        for where, found in (("witness", proof.on_witness), ("fresh", proof.on_fresh))
        for d in found
    ]
    print_table(("observations", "output", "largest difference", "outside", "elements", "note"), rows)


def _item_document(item: BatchItem) -> dict[str, Any]:
    report = None if item.report is None else item.report.to_document()
    return {
        "source": item.source,
        "target": item.target,
        "status": item.status,
        "error": item.error,
        "report": report,
    }


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _print_items(items: list[BatchItem]) -> None:
    from mpt_format.cli.output import print_table

    rows = []
    for item in items:
        proof = item.report.proof if item.report else None
        said = item.error.splitlines()[1].strip() if "\n" in item.error else item.error
        if proof and proof.missing:
            said = f"not compared: {'; '.join(proof.missing)}"
        revisions = ", ".join(item.report.route) if item.report else ""
        rows.append((item.source, item.status, revisions, f"{proof.largest:.3g}" if proof else "", _cut(said)))
    print_table(("archive", "status", "revisions", "largest difference", "why"), rows)
