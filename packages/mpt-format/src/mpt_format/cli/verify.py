"""`mpt verify`: is this archive whole, and is it what was signed; never imports torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mpt_format.archive import VerifyLevel
from mpt_format.cli.output import print_json, size_text
from mpt_format.errors import ArchiveError, ManifestError, escape_text
from mpt_format.opening import open_archive

_WORTH_A_BAR_BYTES = 500_000_000  # about half a second


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--structure", "level", flag_value="structure", help="Container and manifest only.")
@click.option("--quick", "level", flag_value="quick", help="Also small members and tensor headers.")
@click.option("--full", "level", flag_value="full", default="full", help="Also every tensor's digest (the default).")
@click.option(
    "--key",
    type=click.Path(),
    metavar="FILE",
    help="Public key in PEM: also compare the signature (needs mpt-format[sign]).",
)
@click.option("--signature", type=click.Path(), metavar="FILE", help="The signature; PATH.sig when left out.")
@click.option("--json", "as_json", is_flag=True, help="Print every archive with its problems as JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    paths: tuple[str, ...],
    level: VerifyLevel,
    key: str | None,
    signature: str | None,
    as_json: bool,
) -> None:
    """Check the bytes of archives.

    PATH is a file, a URL, or a folder: then every *.mpt below it. Exit code 0: all are whole, 1: something is wrong
    with one.

    \b
    Examples:
      mpt verify run.mpt
      mpt verify checkpoints/ --quick
      mpt verify run.mpt --json
      mpt verify run.mpt --key trainer.pub
    """  # noqa: D301
    found = _find(paths)
    reports = []
    for path in found:
        reports.append(_check(path, level, key, signature))
        if not as_json:
            _print(reports[-1])
    bad = sum(not report["ok"] for report in reports)
    if as_json:
        print_json(reports)
    elif len(reports) > 1:
        click.echo(f"{len(reports)} archives: {len(reports) - bad} ok, {bad} not")
    if bad:
        ctx.exit(1)


def _find(paths: Sequence[str]) -> list[str]:
    """Return the archives that paths name: a folder stands for every *.mpt below it."""
    found: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        archives = (each for each in Path(path).rglob("*.mpt") if not each.name.endswith(".unverified.mpt"))
        inside = sorted(str(each) for each in archives if not each.is_dir())  # what a killed `mpt convert` left is none
        if not inside:
            raise click.UsageError(f"No *.mpt below the folder {escape_text(path)}.")
        found += inside
    return found


def _check(path: str, level: VerifyLevel, key: str | None, signature: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"path": path, "level": level, "ok": True, "error": None, "problems": []}
    try:
        with open_archive(path) as archive:
            report["size_bytes"] = archive.size_bytes
            report["content_digest"] = archive.manifest.content_digest
            if level == "full" and archive.size_bytes > _WORTH_A_BAR_BYTES and sys.stderr.isatty():
                with click.progressbar(length=archive.size_bytes, label="digests", file=sys.stderr) as bar:
                    archive.verify(level, on_bytes=bar.update)
            else:
                archive.verify(level)
        if key is not None:
            from mpt_format.signing import check_signature

            check_signature(path, key=key, signature=signature)
            report["signed_by"] = key
    except (ArchiveError, ManifestError) as error:
        report.update(ok=False, error=type(error).__name__, next_step=error.next_step)
        report["problems"] = [{"where": problem.where, "message": problem.message} for problem in error.problems]
    return report


def _print(report: dict[str, Any]) -> None:
    path = escape_text(report["path"])
    if report["ok"]:
        size = size_text(report["size_bytes"])
        signed = f", signed by {escape_text(report['signed_by'])}" if "signed_by" in report else ""
        click.echo(f"{path}: ok ({report['level']}{signed}, {size}, content sha256 {report['content_digest']})")
        return
    click.echo(f"{path}: {report['error']}")
    for problem in report["problems"]:
        click.echo(f"  {escape_text(problem['where'])}: {escape_text(problem['message'])}")
    click.echo(f"  {report['next_step']}")
