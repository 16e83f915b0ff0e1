"""`mpt pack` and `mpt unpack`: an archive as a plain folder, and back."""

from __future__ import annotations

import click

from mpt_format.cli.output import size_text
from mpt_format.errors import escape_text
from mpt_format.packing import pack_folder, unpack_archive


@click.command()
@click.argument("path", type=click.Path())
@click.argument("folder", type=click.Path())
def unpack(path: str, folder: str) -> None:
    """Write an archive's members as plain files.

    Every digest is compared first. FOLDER must not exist. Plain `unzip` gives the same files, unchecked.

    \b
    Example:
      mpt unpack run.mpt run/
    """  # noqa: D301
    target = unpack_archive(path, folder)
    click.echo(f"{escape_text(path)} -> {escape_text(str(target))}")


@click.command()
@click.argument("folder", type=click.Path())
@click.argument("path", type=click.Path())
def pack(folder: str, path: str) -> None:
    """Build an archive from a folder that `mpt unpack` or `unzip` made.

    Sizes and digests are made anew, so files may be edited; what was not touched gives the same bytes again.

    \b
    Example:
      mpt pack run/ run.mpt
    """  # noqa: D301
    written = pack_folder(folder, path)
    size = size_text(written.size_bytes)
    click.echo(f"{escape_text(str(written.path))}: {size}, content sha256 {written.content_digest}")
