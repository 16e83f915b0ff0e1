"""`mpt load`: which code computes a checkpoint, why, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from mpt_format.cli.output import print_json

from app_loader.cli._options import code_option, json_option, store_option
from app_loader.cli._pastable import PastableCommand
from app_loader.cli._rules_option import read_rules_option, rules_option

if TYPE_CHECKING:
    from app_loader.loaded import LoadedPolicy
    from app_loader.resolve import Resolution


@click.command("load", cls=PastableCommand)
@click.argument("path", type=click.Path())
@code_option("trained")
@rules_option
@click.option(
    "--verify",
    type=click.Choice(["structure", "full", "witness"]),
    default="witness",
    show_default=True,
    help="How much to check: keys and shapes; every digest; the recorded behaviour.",
)
@store_option
@json_option("origin, resolution and parameters")
def load(path: str, code: str, verify: str, store: str | None, as_json: bool, rules: str | None = None) -> None:
    """Load a policy and say where its code comes from.

    \b
    Examples:
      mpt load run.mpt
      mpt load run.mpt --code current --rules today.json
      mpt load run.mpt --code 0.2.0 --json
    """  # noqa: D301
    from mpt_format import open_archive

    from app_loader.load import check_stored, check_witness, load_with, resolve_archive
    from app_loader.store import Store

    today = None if rules is None else read_rules_option(rules)
    asked = click.get_current_context().get_parameter_source("verify") is not ParameterSource.DEFAULT
    with open_archive(path) as archive:
        has_witness = archive.manifest.witness is not None
        if not has_witness and code == "trained" and not asked:
            verify = "full"  # the trained code needs no proof, and a conversion has no witness
        archive.verify("structure" if verify == "structure" else "full")
        opened = Store(store)
        resolution = resolve_archive(archive, code, opened)
        if verify != "structure":
            check_stored(resolution, opened)
        policy = load_with(archive, resolution)
        report = check_witness(policy, archive) if verify == "witness" else None
    if today is not None:
        policy = policy.adapt(today)
    document = {
        "path": path,
        "origin": _origin(policy),
        "resolution": [candidate.to_document() for candidate in resolution.candidates],
        "architecture": policy.architecture.to_document(),
        "capabilities": sorted(policy.capabilities),
        "parameters": list(_parameters(policy)),
        "witness": report and report.to_document(),
    }
    if as_json:
        print_json(document)
    else:
        _print(path, policy, resolution, document)
        if not has_witness:
            click.echo("witness    none recorded: nothing says what the policy computed when it was saved")


def _origin(policy: LoadedPolicy) -> dict[str, Any]:
    names = ("distribution", "version", "digest", "mode", "reason")
    return {name: getattr(policy.origin, name) for name in names} | {
        "revisions": list(policy.origin.revisions),
        "outside": list(policy.origin.outside),
    }


def _parameters(policy: LoadedPolicy) -> list[dict[str, Any]]:
    assert policy.module is not None
    return [
        {
            "name": name,
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "elements": value.numel(),
        }
        for name, value in policy.module.named_parameters()
    ]


def _print(path: str, policy: LoadedPolicy, resolution: Resolution, document: dict[str, Any]) -> None:
    from mpt_format.errors import escape_text
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{path}  {escape_text(document['architecture']['kind'])}")
    console.print(f"origin     {escape_text(str(policy.origin))}")
    console.print("considered")
    console.print("\n".join(escape_text(line) for line in resolution.to_text().splitlines()))
    if document["witness"]:
        bits = "bit for bit" if document["witness"]["bit_equal"] else "within its tolerance"
        console.print(f"witness    met {bits}")
    table = Table("parameter", "shape", "dtype", "elements", title=None)
    for row in document["parameters"]:
        table.add_row(row["name"], str(row["shape"]), row["dtype"], f"{row['elements']:,}")
    table.add_section()
    table.add_row("total", "", "", f"{sum(row['elements'] for row in document['parameters']):,}")
    console.print(table)
