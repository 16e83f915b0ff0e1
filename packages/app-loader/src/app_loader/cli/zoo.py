"""`mpt zoo`: the store of wheels. Adding is the act of trust; nothing here imports what it adds, lists or shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app_loader.cli._options import complete_entry, json_option, store_option
from app_loader.cli._verbs import Verbs

if TYPE_CHECKING:
    from mpt_format import CodeRecord

    from app_loader.settings import Settings
    from app_loader.sources import PinnedCompanion
    from app_loader.store import Entry, Store

_CHANGED = re.compile(rb"^\+\+\+ \"?b/(.*?)\"?$", re.MULTILINE)
_STEERS_THE_BUILD = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "hatch_build.py", "build.py"})


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
            entries = [_add_pinned(opened, settings, each, companions, from_source, repository, accept_digest)]
        elif path.suffix == ".whl" or (path.is_dir() and commit is None and list(path.glob("*.whl"))):
            entries = _add_files(opened, path, companions, sha256)
        elif commit is not None or path.is_dir() or "://" in each:
            entries = [_add_checkout(opened, settings, each, companions, commit, subdirectory)]
        else:
            entries = [
                add_requirement(
                    opened, each, settings, companions=companions, sha256=sha256, resolve_companions=not no_companions
                )
            ]
        added += entries
        if not as_json:
            for entry in entries:
                _say_added(entry)
    if as_json:
        click.echo(json.dumps([_summary(entry) for entry in added], indent=2))


def _add_pinned(
    opened: Store,
    settings: Settings,
    source: str,
    companions: tuple[str, ...],
    from_source: bool,
    repository: str | None,
    accept_digest: str | None,
) -> Entry:
    """Add the code that an archive pins."""
    from app_loader.sources import add_archive

    record, diff, pinned = _read_archive(Path(source))
    if from_source and record.commit is not None:
        _say_build(record, diff, repository, settings)
    return add_archive(
        opened,
        record,
        settings,
        diff=diff,
        from_source=from_source,
        repository=repository,
        accept_digest=accept_digest,
        archive=source,
        pinned=pinned,
        companions=companions,
    )


def _add_files(opened: Store, path: Path, companions: tuple[str, ...], sha256: str | None) -> list[Entry]:
    """Add a wheel, or each wheel of a folder."""
    from app_loader.sources import add_wheels

    wheels = _wheel_files(companions)
    mains = [path] if path.suffix == ".whl" else sorted(path.glob("*.whl"))
    if len(mains) > 1 and (companions or sha256):
        raise click.UsageError("with a folder, each wheel is an entry of its own: --with and --sha256 need one wheel")
    return [add_wheels(opened, [main, *wheels], sha256=sha256) for main in mains]


def _add_checkout(
    opened: Store,
    settings: Settings,
    source: str,
    companions: tuple[str, ...],
    commit: str | None,
    subdirectory: str | None,
) -> Entry:
    """Add what a repository holds at a commit."""
    from app_loader.sources import add_repository

    if commit is None:
        raise click.UsageError("a repository needs --commit: a commit, tag or branch")
    wheels = _wheel_files(companions)
    return add_repository(opened, source, commit, settings, subdirectory=subdirectory, companions=wheels)


def _wheel_files(companions: tuple[str, ...]) -> list[Path]:
    """Return the wheels that stand behind `--with`; a requirement there would be looked up by nothing."""
    if not all(text.endswith(".whl") for text in companions):
        raise click.UsageError("with a wheel or a repository, --with takes wheel files")
    return [Path(text) for text in companions]


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
        click.echo(json.dumps([_summary(entry) for entry in entries], indent=2))
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
        table.add_row(*map(_plain, (entry.distribution, entry.version, entry.digest[:12], companions, kinds)))
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
        click.echo(json.dumps(_details(entry), indent=2))
    else:
        _print_details(entry)


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
        click.echo(json.dumps(found, indent=2))
    else:
        for subject, problems in found.items():
            click.echo(f"{subject}: {'as it was added' if not problems else f'{len(problems)} differences'}")
            for problem in problems:
                click.echo(f"  {_plain(problem)}")
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


def _read_archive(path: Path) -> tuple[CodeRecord, bytes | None, list[PinnedCompanion]]:
    """Return what an archive says of its code, the difference of its source, and the companions that it pins."""
    from mpt_format import open_archive

    from app_loader.errors import ProvenanceError
    from app_loader.sources import PinnedCompanion

    with open_archive(path) as archive:
        archive.verify("full")  # the difference is about to be applied and built
        record = archive.manifest.code
        if record is None:
            raise ProvenanceError(str(path), ["it records no code"], "mpt zoo add WHEEL")
        diff = archive.read_member(record.diff_member) if record.diff_member else None
        listed = archive.manifest.requires.get("companions")
    pinned = [
        PinnedCompanion(
            distribution=str(each.get("distribution")),
            version=str(each.get("version")),
            sha256=str(each.get("wheel_sha256")),
        )
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]
    return record, diff, pinned


def _say_build(record: CodeRecord, diff: bytes | None, repository: str | None, settings: Settings) -> None:
    """Say what is about to be built, on the way of errors: building runs code of the repository and of the archive."""
    from app_loader.credentials import strip_credentials

    place = strip_credentials(repository or settings.find_moved(record.repository or "no repository"))
    what = f"{record.distribution} {record.version} from {place} at {(record.commit or '')[:12]}"
    click.echo(f"building {_plain(what)}", err=True)
    if diff:
        changed = sum(line.startswith(b"diff --git ") for line in diff.split(b"\n"))
        click.echo(f"  with the archive's own difference: {changed} files, {len(diff)} bytes", err=True)
        names = [name.decode("utf-8", "replace") for name in _CHANGED.findall(diff)]
        steering = [name for name in names if name.rpartition("/")[2] in _STEERS_THE_BUILD]
        if steering:
            click.echo(f"  which changes how it is built: {_plain(', '.join(steering))}", err=True)


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


def _plain(text: str) -> str:
    """Return a text of a wheel or of an archive so that it cannot steer the terminal on which it is judged."""
    from mpt_format.errors import escape_text

    return escape_text(text)


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "distribution": entry.distribution,
        "version": entry.version,
        "digest": entry.digest,
        "identifier": entry.identifier,
        "wheels": [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in entry.wheels],
        "kinds": dict(entry.entry_points("policy_interface.architectures")),
        "provenance": dict(entry.provenance),
    }


def _details(entry: Entry) -> dict[str, Any]:
    shared = [
        {"name": s.name, "asked": s.asked, "installed": s.installed, "met": s.met} for s in entry.shared_libraries()
    ]
    return {**_summary(entry), "path": str(entry.path), "shared_libraries": shared, "scan": entry.scan.to_document()}


def _say_added(entry: Entry) -> None:
    click.echo(f"added {_plain(f'{entry.distribution} {entry.version}')} sha256:{entry.wheels[0].sha256[:12]}")
    if "accepted_because" in entry.provenance:
        click.echo(f"  accepted, because {entry.provenance['accepted_because']}")
    if "requirement" in entry.provenance and entry.provenance.get("pinned") is None:
        click.echo(
            f"  note: chosen by name and version from a configured {entry.provenance['source']}; "
            f"--sha256 {entry.wheels[0].sha256} pins it"
        )
    for wheel in entry.wheels[1:]:
        click.echo(f"  with {_plain(f'{wheel.name} {wheel.version}')} sha256:{wheel.sha256[:12]}")
    for library in entry.shared_libraries():
        if not library.met:
            click.echo(f"  note: {library}")
    if entry.scan.native:
        click.echo(f"  note: it holds native code ({entry.scan.native[0]}): what needs that is refused in a process")


def _print_details(entry: Entry) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{entry.distribution} {entry.version}")
    console.print(f"digest     {entry.digest}")
    console.print(f"imported   app_loader.isolated.{entry.identifier}")
    console.print(f"modules    {entry.path}")
    for key, value in entry.provenance.items():
        console.print(f"{key:<10} {_plain(', '.join(value) if isinstance(value, list) else str(value))}")
    wheels = Table("wheel", "version", "sha256", "top-level names", title=None)
    for wheel in entry.wheels:
        wheels.add_row(*map(_plain, (wheel.name, wheel.version, wheel.sha256[:12], ", ".join(wheel.top_levels))))
    console.print(wheels)
    libraries = Table("shared library", "asked for then", "here now", "", title=None)
    for library in entry.shared_libraries():
        verdict = "in range" if library.met else "moved" if library.installed else "absent"
        libraries.add_row(library.name, library.asked or "any", library.installed or "none", verdict)
    console.print(libraries)
    scan = entry.scan
    console.print("what its code touches outside itself (read from the source, nothing was run):")
    rows = [("native code", name) for name in scan.native]
    rows += [
        (f"registers a {r.table}", f"{r.name or 'a computed name'} at {r.file}:{r.line}") for r in scan.registrations
    ]
    rows += [(s.text, f"{s.file}:{s.line}") for s in (*scan.changes, *scan.module_table, *scan.self_names)]
    rows += [("does not parse here", name) for name in scan.unreadable]
    for what, where in rows or [("nothing", "")]:
        console.print(f"  {_plain(what):<28} {_plain(where)}")
