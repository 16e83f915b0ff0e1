"""`mpt diff`: what changed from one archive to another."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

import click

from mpt_format.cli.output import print_json
from mpt_format.comparison import Difference, compare_archives
from mpt_format.errors import escape_text
from mpt_format.opening import open_archive


@click.command()
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@click.option("--values", is_flag=True, help="Compare the values of changed tensors (needs torch).")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, values: bool, as_json: bool) -> None:
    """Compare two archives: provenance, config, game rules, tensors, extra state.

    Tensors are compared by digest; the time of saving does not count. Exit code 0: nothing differs, 1: something does.

    \b
    Examples:
      mpt diff before.mpt after.mpt
      mpt diff before.mpt after.mpt --values
    """  # noqa: D301
    with open_archive(old) as first, open_archive(new) as second:
        found = compare_archives(first, second, values=values)
    if as_json:
        print_json([asdict(difference) for difference in found])
    elif not found:
        click.echo("no difference (the time of saving aside)")
    else:
        for area, group in groupby(found, key=lambda difference: difference.area):
            click.echo(f"{area}:")
            for difference in group:
                click.echo(f"  {_line(difference)}")
    if found:
        ctx.exit(1)


def _line(difference: Difference) -> str:
    distance = "" if difference.max_difference is None else f"  (max difference {difference.max_difference:.6g})"
    return f"{escape_text(difference.path)}: {_show(difference.old)} -> {_show(difference.new)}{distance}"


def _show(value: Any) -> str:
    text = escape_text(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 100 else f"{text[:97]}..."
