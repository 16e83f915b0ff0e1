"""`mpt museum`: which version of the code loads which checkpoint."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from app_loader.cli._options import json_option, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from app_loader.museum import Matrix
    from app_loader.store import Store


@click.command("museum", short_help="Draw which versions of the code load which checkpoints.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--wheelhouse",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    default=None,
    help="Take the versions from these wheels, through a store that is thrown away.",
)
@click.option("--no-current", is_flag=True, help="Leave the installed code out.")
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    default=None,
    help="Compare with this earlier --json output.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    default=None,
    help="Draw the matrix into this file as well.",
)
@store_option
@json_option("the matrix")
def museum(
    folder: str,
    wheelhouse: str | None,
    store: str | None,
    no_current: bool,
    html: str | None,
    recorded: str | None,
    as_json: bool,
) -> None:
    """Load every checkpoint below FOLDER with every version of its code and print the matrix.

    Exit code 0: every checkpoint loads with the code that trained it (and, with --recorded, every cell is as recorded),
    1: something does not.

    \b
    Examples:
      mpt museum museum/ --wheelhouse wheelhouse/
      mpt museum runs/ --html matrix.html
      mpt museum museum/ --wheelhouse wheelhouse/ --recorded museum/matrix.json
    """  # noqa: D301
    import tempfile
    from pathlib import Path

    from app_loader.museum import compare_matrices
    from app_loader.museum.draw import make_page
    from app_loader.store import Store

    with tempfile.TemporaryDirectory(prefix="mpt-museum-", ignore_cleanup_errors=True) as scratch:
        opened = Store(scratch if wheelhouse else store)
        for wheel in sorted(Path(wheelhouse).glob("*.whl")) if wheelhouse else ():
            _add_zoo(opened, wheel)
        matrix = _make(Path(folder), opened, current=not no_current)
    document = matrix.to_document()
    changes = list(compare_matrices(json.loads(Path(recorded).read_text("utf-8")), document)) if recorded else []
    if html:
        Path(html).write_text(make_page(matrix), "utf-8")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print(matrix)
    for change in changes:
        click.echo(str(change), err=True)
    sys.exit(0 if matrix.kept and not changes else 1)


def _add_zoo(store: Store, wheel: Path) -> None:
    """Add a wheel if it is a zoo's; the wheelhouse may hold the application's own wheels as well."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        tables = [archive.read(name) for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
    if any(b"[policy_interface.architectures]" in table for table in tables):
        store.add([wheel])


def _make(folder: Path, store: Store, *, current: bool) -> Matrix:
    from rich.console import Console
    from rich.progress import Progress

    from app_loader.museum import make_matrix

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("loading")
        return make_matrix(
            folder, store, current=current, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _print(matrix: Matrix) -> None:
    from rich.console import Console

    from app_loader.museum.cell import MEANING
    from app_loader.museum.draw import make_table

    Console().print(make_table(matrix))
    for row in matrix.rows:
        for cell in row.cells:
            if not cell.verdict.loads:
                click.echo(f"{row.checkpoint} with {cell.version}: {cell.detail}")
    for verdict, meaning in MEANING.items():
        if any(cell.verdict is verdict for row in matrix.rows for cell in row.cells):
            click.echo(f"{verdict}: {meaning}")
    click.echo("*: the version that trained the checkpoint")
