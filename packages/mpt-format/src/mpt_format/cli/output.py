"""Plain text for terminals and programs: aligned tables, sizes, JSON. Everything from a file is escaped."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence

import click

from mpt_format.errors import escape_text


def format_json(document: object) -> str:
    """A document as indented JSON, ASCII only: nothing in it can steer a terminal."""
    return json.dumps(document, indent=2)


def print_json(document: object) -> None:
    """Print a document as indented JSON."""
    click.echo(format_json(document))


def print_json_items(documents: Iterable[object]) -> None:
    """Print a list as `print_json` does, each element as soon as there is one."""
    print_json_texts(map(format_json, documents))


def print_json_texts(texts: Iterable[str]) -> None:
    """The same for elements that are JSON text already."""
    before = "["
    for text in texts:
        click.echo(before + "\n" + textwrap.indent(text, "  "), nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, columns aligned, numbers to the right."""
    cells = [[escape_text(str(cell)) for cell in row] for row in rows]
    widths = [max(len(heading), *(len(row[i]) for row in cells), 0) for i, heading in enumerate(headings)]
    is_number = [bool(cells) and all(row[i].replace(",", "").isdigit() for row in cells) for i in range(len(headings))]
    for line in ([*headings], ["-" * width for width in widths], *cells):
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ]
        click.echo("  ".join(parts).rstrip())


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print one ``name  value`` line per fact that has a value."""
    shown = [(name, escape_text(str(value))) for name, value in facts if value not in (None, "", {}, [])]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def size_text(size_bytes: int) -> str:
    """Return a size for people, as in ``1.2 GB`` (powers of ten)."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
