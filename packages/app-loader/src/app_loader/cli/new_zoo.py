"""`mpt new-zoo`: a package of model code to begin with."""

from __future__ import annotations

import click


@click.command("new-zoo", short_help="Write a new model zoo that keeps the contract.")
@click.argument("name")
@click.option(
    "--index",
    default=None,
    metavar="URL_OR_FOLDER",
    help="Where policy-interface comes from; a wheelhouse or index of mpt.toml that has it when left out.",
)
@click.option(
    "--into", type=click.Path(), metavar="FOLDER", default=None, help="The folder to write; NAME when left out."
)
def new_zoo(name: str, into: str | None, index: str | None = None) -> None:
    """Write a new model zoo: one architecture, the conformance test, import contracts, migrations, a release workflow.

    The package depends on policy-interface alone; its wheel is added to a store and loads through load_policy.

    \b
    Examples:
      mpt new-zoo my-zoo
      mpt new-zoo my-zoo --into models/my-zoo
      mpt new-zoo my-zoo --index https://packages.example.org/simple/
    """  # noqa: D301
    import shlex
    import sys
    from pathlib import Path

    from app_loader.settings import read_settings
    from app_loader.template import find_index, parse_index, parse_zoo_name, write_zoo

    names = parse_zoo_name(name)
    folder = Path(into or name)
    named = parse_index(index) if index else find_index(read_settings())
    for path in write_zoo(names, folder, named):
        click.echo(str(path))
    there, build = shlex.quote(str(folder)), "uv build --wheel"
    if named is not None:
        click.echo(f"next: cd {there} && uv sync && uv run pytest && {build}")
        return
    python = shlex.quote(sys.executable)
    click.echo(
        "policy-interface is on no public index, and no settings here say where yours is: name it in "
        f"{folder / 'pyproject.toml'} before you run uv sync, or use --index; until then the environment of this "
        "command has it"
    )
    install = f"uv pip install --python {python} --editable . --group dev"
    click.echo(f"next: cd {there} && {install} && {python} -m pytest && {build}")
