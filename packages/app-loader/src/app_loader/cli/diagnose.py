"""`mpt diagnose`: everything that stands between an archive and other code, in one report."""

from __future__ import annotations

from pathlib import Path

import click
from mpt_format.cli.output import print_json

from app_loader.cli._options import code_option, json_option, store_option
from app_loader.cli._pastable import PastableCommand
from app_loader.cli._rules_option import read_rules_option, rules_option


@click.command("diagnose", cls=PastableCommand)
@click.argument("path", type=click.Path())
@code_option("current")
@rules_option
@click.option("--behaviour/--no-behaviour", default=None, help="Replay the witness or not; by default up to 2 GiB.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report into a file: *.md or *.html."
)
@store_option
@json_option("the report")
@click.pass_context
def diagnose(
    ctx: click.Context,
    path: str,
    code: str,
    rules: str | None,
    report: Path | None,
    behaviour: bool | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Say why an archive loads with other code, or why it does not.

    Exit code 0: it would load, 1: it would not.

    \b
    Examples:
      mpt diagnose run.mpt
      mpt diagnose run.mpt --code 0.2.0 --json
      mpt diagnose run.mpt --report why.html
    """  # noqa: D301
    from app_loader.diagnosis import diagnose as look
    from app_loader.diagnosis.text import to_markdown, to_text

    if report is not None and report.suffix not in (".md", ".html"):
        raise click.UsageError("--report takes a file that ends in .md or .html")
    today = None if rules is None else read_rules_option(rules)
    diagnosis = look(path, code=code, rules=today, store=store, behaviour=behaviour, rules_file=rules or "")
    if report is not None:
        from app_loader.diagnosis.html import to_html

        text = to_html(diagnosis) if report.suffix == ".html" else to_markdown(diagnosis)
        report.write_text(text, encoding="utf-8")
        click.echo(f"{report}: {diagnosis.verdict()}", err=as_json)
    if as_json:
        print_json(diagnosis.to_document())
    elif report is None:
        click.echo(to_text(diagnosis))
    if not diagnosis.would_load:
        ctx.exit(1)
