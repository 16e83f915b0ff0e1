"""`mpt new-zoo`: a package of model code to begin with."""

from __future__ import annotations

import click


@click.command(
    "new-zoo",
    short_help="Write a new model zoo that keeps the contract.",
    epilog="Examples:\n\n  mpt new-zoo my-zoo\n\n  mpt new-zoo my-zoo --into models/my-zoo",
)
@click.argument("name")
@click.option("--into", type=click.Path(), default=None, help="The folder to write; NAME when left out.")
def new_zoo(name: str, into: str | None) -> None:
    """Write a new model zoo: one architecture, the conformance test, import contracts and a release workflow.

    The package depends on policy-interface alone; its wheel is added to a store and loads through load_policy.
    """
    from pathlib import Path

    from app_loader.template import parse_zoo_name, write_zoo

    names = parse_zoo_name(name)
    folder = Path(into or name)
    for path in write_zoo(names, folder):
        click.echo(str(path))
    click.echo(f"next: cd {folder} && uv sync && uv run pytest && uv build --wheel")
