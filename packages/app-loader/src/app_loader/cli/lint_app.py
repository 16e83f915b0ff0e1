"""`mpt lint-app`: does application code know concrete model code?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from mpt_format.cli.output import print_json

from app_loader.cli._options import json_option, store_option

if TYPE_CHECKING:
    from app_loader.lint import Finding


@click.command("lint-app", short_help="Find references of an application to concrete model code.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True))
@click.option(
    "--zoo",
    "named",
    multiple=True,
    metavar="NAME",
    help="A further module or class that is model code; may be repeated.",
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out paths that match; may be repeated.")
@store_option
@json_option("the findings")
def lint_app(
    paths: tuple[str, ...], named: tuple[str, ...], exclude: tuple[str, ...], store: str | None, as_json: bool
) -> None:
    """Find references of application code to concrete model classes, architectures and modules of any zoo.

    Zoos are what is installed or stored and declares kinds, and what --zoo names. The code is read and never imported.
    Exit code 0: nothing was found, 1: something was.

    \b
    Examples:
      mpt lint-app src/
      mpt lint-app train.py --zoo my_models --json
      mpt lint-app . --exclude '*/tests/*'
    """  # noqa: D301
    from pathlib import Path

    from app_loader.lint import known_zoos, lint_paths
    from app_loader.store import Store

    zoo = known_zoos(Store(store), named)
    findings, count = lint_paths([Path(path) for path in paths], zoo, exclude=exclude)
    if as_json:
        document = {"files": count, "zoos": sorted(zoo.modules), "findings": [f.to_document() for f in findings]}
        print_json(document)
    else:
        _print(findings, count, sorted(zoo.modules))
    sys.exit(1 if findings else 0)


def _print(findings: list[Finding], count: int, zoos: list[str]) -> None:
    for finding in findings:
        click.echo(str(finding))
    for rule in sorted({finding.rule for finding in findings}):
        example = next(finding for finding in findings if finding.rule is rule)
        click.echo(f"instead of {rule} ({sum(f.rule is rule for f in findings)}): {example.instead}")
    known = ", ".join(zoos) or "none; name one with --zoo"
    click.echo(f"{len(findings)} findings in {count} files; zoos: {known}")
