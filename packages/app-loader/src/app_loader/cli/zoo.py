"""`mpt zoo`: the store of wheels. Adding is the act of trust; nothing here imports what it adds, lists or shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from mpt_format.cli.output import print_json
from mpt_format.errors import escape_text

from app_loader.cli._adding import add_checkout, add_files, add_pinned
from app_loader.cli._entry_text import entry_details, entry_summary, print_details, say_added
from app_loader.cli._options import complete_entry, json_option, store_option
from app_loader.cli._verbs import Verbs

if TYPE_CHECKING:
    from app_loader.store import Entry, Store


@click.group("zoo", cls=Verbs, subcommand_metavar="VERB ...")
def zoo() -> None:
    """Add, list, show, verify and remove stored versions of model code."""


@zoo.command(short_help="Add a wheel, wheels, a requirement, a repository, or what an archive pins.")
@click.argument("source", type=click.Path())
@click.argument("more", metavar="[SOURCE]...", nargs=-1, type=click.Path())
@click.option(
    "--with",
    "companions",
    multiple=True,
    type=click.Path(),
    metavar="SOURCE",
    help="A private companion: a wheel or a requirement; may be repeated.",
)
@click.option("--no-companions", is_flag=True, help="With a requirement: take only the companions named by --with.")
@click.option(
    "--sha256", metavar="DIGEST", default=None, help="The digest that the wheel must have, or its first digits."
)
@click.option("--commit", metavar="NAME", default=None, help="With a repository: the commit, tag or branch.")
@click.option("--subdirectory", metavar="FOLDER", default=None, help="With a repository: the project's folder in it.")
@click.option("--from-source", is_flag=True, help="With an archive: build its code from the recorded commit and diff.")
@click.option(
    "--repository",
    type=click.Path(),
    metavar="URL_OR_FOLDER",
    default=None,
    help="With --from-source: where to find the recorded repository.",
)
@click.option(
    "--accept-digest",
    metavar="DIGEST",
    default=None,
    help="With --from-source: accept a build with this other sha256.",
)
@store_option
@json_option("the new entries")
def add(
    source: str,
    companions: tuple[str, ...],
    sha256: str | None,
    commit: str | None,
    subdirectory: str | None,
    from_source: bool,
    repository: str | None,
    accept_digest: str | None,
    no_companions: bool,
    store: str | None,
    as_json: bool,
    more: tuple[str, ...] = (),
) -> None:
    """Add model code: a wheel, a folder of wheels, a requirement, a repository, or what an archive pins.

    Of several sources each is an entry of its own.

    \b
    Examples:
      mpt zoo add wheelhouse/model_zoo-0.1.0-py3-none-any.whl
      mpt zoo add wheelhouse/
      mpt zoo add x-transformers==1.42.0 --with einops==0.8.0
      mpt zoo add path/to/repository --commit v1.2 --subdirectory packages/zoo
      mpt zoo add run.mpt
      mpt zoo add run.mpt --from-source --repository path/to/clone
    """  # noqa: D301
    from app_loader.settings import read_settings
    from app_loader.sources import add_requirement
    from app_loader.store import Store

    if more and (companions or sha256 or commit or subdirectory or accept_digest):
        raise click.UsageError(
            "of several sources each is an entry of its own: --with, --sha256, --commit, --subdirectory and "
            "--accept-digest need one source"
        )
    settings, opened = read_settings(), Store(store)
    added: list[Entry] = []
    for each in (source, *more):
        path = Path(each)
        if path.suffix == ".mpt":
            entries = [add_pinned(opened, settings, each, companions, from_source, repository, accept_digest)]
        elif path.suffix == ".whl" or (path.is_dir() and commit is None and list(path.glob("*.whl"))):
            entries = add_files(opened, path, companions, sha256)
        elif commit is not None or path.is_dir() or "://" in each:
            entries = [add_checkout(opened, settings, each, companions, commit, subdirectory)]
        else:
            entries = [
                add_requirement(
                    opened, each, settings, companions=companions, sha256=sha256, resolve_companions=not no_companions
                )
            ]
        added += entries
        if not as_json:
            for entry in entries:
                say_added(entry)
    if as_json:
        print_json([entry_summary(entry) for entry in added])


@zoo.command("list")
@store_option
@json_option("the entries")
def list_(store: str | None, as_json: bool) -> None:
    """List what the store has.

    \b
    Examples:
      mpt zoo list
      mpt zoo list --json
    """  # noqa: D301
    from app_loader.store import Store

    opened = Store(store)
    entries = opened.entries()
    if as_json:
        print_json([entry_summary(entry) for entry in entries])
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not entries:
        console.print(f"{opened.path} is empty; add to it with: mpt zoo add WHEEL")
        return
    table = Table("distribution", "version", "digest", "companions", "kinds", title=None)
    for entry in entries:
        companions = ", ".join(f"{wheel.name} {wheel.version}" for wheel in entry.wheels[1:])
        kinds = ", ".join(sorted(entry.entry_points("policy_interface.architectures")))
        table.add_row(*map(escape_text, (entry.distribution, entry.version, entry.digest[:12], companions, kinds)))
    console.print(table)
    console.print(f"store: {opened.path}")


@zoo.command(short_help="Show one entry and what its code touches.")
@click.argument("name", metavar="ENTRY", shell_complete=complete_entry)
@store_option
@json_option("the entry and its scan")
def show(name: str, store: str | None, as_json: bool) -> None:
    """Show one entry: its wheels, their origin, its shared libraries, and what its code touches outside itself.

    ENTRY is NAME, NAME==VERSION or NAME@DIGEST. Nothing of it is run.

    \b
    Examples:
      mpt zoo show model-zoo==0.1.0
      mpt zoo show model-zoo@1046b0c3ba66 --json
    """  # noqa: D301
    from app_loader.store import Store

    entry = _get(Store(store), name)
    if as_json:
        print_json(entry_details(entry))
    else:
        print_details(entry)


@zoo.command()
@click.argument("name", metavar="[ENTRY]", required=False, shell_complete=complete_entry)
@store_option
@json_option("what differs, by entry,")
def verify(name: str | None, store: str | None, as_json: bool) -> None:
    """Check every stored file against its wheel's RECORD.

    Exit code 0: all is as it was added, 1: something differs.

    \b
    Examples:
      mpt zoo verify
      mpt zoo verify model-zoo==0.1.0 --json
    """  # noqa: D301
    from app_loader.store import Store

    opened = Store(store)
    entries = [_get(opened, name)] if name else opened.entries()
    found = {f"{entry.distribution} {entry.version} {entry.digest[:12]}": entry.verify() for entry in entries}
    if as_json:
        print_json(found)
    else:
        for subject, problems in found.items():
            click.echo(f"{subject}: {'as it was added' if not problems else f'{len(problems)} differences'}")
            for problem in problems:
                click.echo(f"  {escape_text(problem)}")
    if any(found.values()):
        raise SystemExit(1)


@zoo.command()
@click.argument("name", metavar="ENTRY", shell_complete=complete_entry)
@store_option
def remove(name: str, store: str | None) -> None:
    """Remove one entry.

    Checkpoints that it trained stay loadable wherever its wheel is added again.

    \b
    Examples:
      mpt zoo remove model-zoo==0.1.0
      mpt zoo remove model-zoo@1046b0c3ba66
    """  # noqa: D301
    from app_loader.store import Store

    opened = Store(store)
    entry = _get(opened, name)
    opened.remove(entry)
    click.echo(f"removed {entry.distribution} {entry.version} {entry.digest[:12]}")


def _get(store: Store, name: str) -> Entry:
    """Return the entry that ``NAME``, ``NAME==VERSION`` or ``NAME@DIGEST`` names."""
    from app_loader.errors import VersionNotStoredError

    rest, _, digest = name.partition("@")
    distribution, _, version = rest.partition("==")
    entry = store.find(distribution, version or None, digest or None)
    if entry is None:
        raise VersionNotStoredError(
            distribution=distribution,
            version=version or "any version",
            digest=digest or None,
            store=str(store.path),
            next_command="mpt zoo list",
        )
    return entry
