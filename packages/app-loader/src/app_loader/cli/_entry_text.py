"""An entry of the store, told: as data for programs, and as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from mpt_format.errors import escape_text

if TYPE_CHECKING:
    from app_loader.store import Entry


def entry_summary(entry: Entry) -> dict[str, Any]:
    """Return what a list says of an entry."""
    return {
        "distribution": entry.distribution,
        "version": entry.version,
        "digest": entry.digest,
        "identifier": entry.identifier,
        "wheels": [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in entry.wheels],
        "kinds": dict(entry.entry_points("policy_interface.architectures")),
        "provenance": dict(entry.provenance),
    }


def entry_details(entry: Entry) -> dict[str, Any]:
    """Return all that is known of an entry."""
    shared = [
        {"name": s.name, "asked": s.asked, "installed": s.installed, "met": s.met} for s in entry.shared_libraries()
    ]
    return {
        **entry_summary(entry),
        "path": str(entry.path),
        "shared_libraries": shared,
        "scan": entry.scan.to_document(),
    }


def say_added(entry: Entry) -> None:
    """Say that an entry was added, why it was accepted, and what to know of it."""
    click.echo(f"added {escape_text(f'{entry.distribution} {entry.version}')} sha256:{entry.wheels[0].sha256[:12]}")
    if "accepted_because" in entry.provenance:
        click.echo(f"  accepted, because {entry.provenance['accepted_because']}")
    if "requirement" in entry.provenance and entry.provenance.get("pinned") is None:
        click.echo(
            f"  note: chosen by name and version from a configured {entry.provenance['source']}; "
            f"--sha256 {entry.wheels[0].sha256} pins it"
        )
    for wheel in entry.wheels[1:]:
        click.echo(f"  with {escape_text(f'{wheel.name} {wheel.version}')} sha256:{wheel.sha256[:12]}")
    for library in entry.shared_libraries():
        if not library.met:
            click.echo(f"  note: {library}")
    if entry.scan.native:
        click.echo(f"  note: it holds native code ({entry.scan.native[0]}): what needs that is refused in a process")


def print_details(entry: Entry) -> None:
    """Print all that is known of an entry."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{entry.distribution} {entry.version}")
    console.print(f"digest     {entry.digest}")
    console.print(f"imported   app_loader.isolated.{entry.identifier}")
    console.print(f"modules    {entry.path}")
    for key, value in entry.provenance.items():
        console.print(f"{key:<10} {escape_text(', '.join(value) if isinstance(value, list) else str(value))}")
    wheels = Table("wheel", "version", "sha256", "top-level names", title=None)
    for wheel in entry.wheels:
        wheels.add_row(*map(escape_text, (wheel.name, wheel.version, wheel.sha256[:12], ", ".join(wheel.top_levels))))
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
        console.print(f"  {escape_text(what):<28} {escape_text(where)}")
