"""`mpt inspect`: what an archive says about itself, from its first kilobytes; never imports torch."""

from __future__ import annotations

import math
from typing import Any

import click

from mpt_format.archive import Archive
from mpt_format.cli.output import print_facts, print_json, print_table, size_text
from mpt_format.dtypes import find_size_bytes
from mpt_format.errors import escape_text
from mpt_format.format import TRAINING
from mpt_format.manifest import Manifest
from mpt_format.opening import open_archive

_SHORT_BYTES = 1 << 16


@click.command()
@click.argument("path", type=click.Path())
@click.option("--tensors", is_flag=True, help="List every tensor as well.")
@click.option("--config", is_flag=True, help="Print the architecture's YAML text.")
@click.option("--rules", is_flag=True, help="Print the game rules as JSON.")
@click.option("--training", is_flag=True, help="Print the account of the training run as JSON.")
@click.option("--losses", is_flag=True, help="List what a conversion says differently, or no longer.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and the members' positions as JSON.")
def inspect(
    path: str,
    as_json: bool,
    tensors: bool,
    config: bool,
    rules: bool,
    training: bool = False,
    losses: bool = False,
) -> None:
    """Show what an archive holds.

    PATH is a file or a URL. Reads the directory, the manifest and a short account of the training only, whatever the
    size of the weights.

    \b
    Examples:
      mpt inspect run.mpt
      mpt inspect run.mpt --tensors
      mpt inspect run.mpt --json | jq .manifest.code
    """  # noqa: D301
    with open_archive(path) as archive:
        if as_json:
            print_json(_document(archive))
        elif config:
            click.echo("\n".join(escape_text(line) for line in archive.architecture_text.splitlines()))
        elif rules:
            print_json(archive.game_rules)
        elif training:
            print_json(archive.training)
        elif losses:
            _print_losses(archive.manifest)
        else:
            _print_summary(archive)
            if tensors:
                _print_tensors(archive.manifest)


def _document(archive: Archive) -> dict[str, Any]:
    return {
        "path": archive.path,
        "size_bytes": archive.size_bytes,
        "content_digest": archive.manifest.content_digest,
        "manifest": archive.manifest.to_document(),
        "members": {
            name: {"offset": member.offset, "size_bytes": member.size_bytes} for name, member in archive.members.items()
        },
    }


def _print_summary(archive: Archive) -> None:
    m = archive.manifest
    parameters = [record for record in m.tensors.values() if record.kind == "parameter"]
    buffers = sum(record.kind == "buffer" for record in m.tensors.values())
    size = sum(find_size_bytes(record.dtype, record.shape) or 0 for record in m.tensors.values())
    dtypes = sorted({record.dtype for record in m.tensors.values()})
    elements = sum(math.prod(record.shape) for record in parameters)
    print_facts(
        [
            ("archive", f"{archive.path} ({size_text(archive.size_bytes)}, format {m.format}.{m.revision})"),
            ("created", m.created),
            ("kind", _kind(m)),
            ("code", _code(m)),
            ("wheel", m.code.wheel_sha256 if m.code else None),
            ("source", _source(m)),
            ("requires", _requires(m)),
            ("environment", ", ".join(f"{name} {value}" for name, value in m.environment.items())),
            ("migration", ", ".join(f"{name} {value}" for name, value in m.migration.items())),
            ("parameters", f"{elements:,} in {len(parameters)} tensors"),
            ("buffers", f"{buffers} tensors"),
            ("tied", f"{len(m.aliases)} keys share memory with another" if m.aliases else None),
            ("weights", f"{size_text(size)} of {', '.join(dtypes)}"),
            ("witness", ", ".join(f"{k} {v}" for k, v in m.witness.items() if not isinstance(v, (dict, list)))
                if m.witness else "none recorded"),
            ("training", _training(archive)),
            ("converted", _conversion(m)),
            ("losses", f"{len(_losses(m))}; mpt inspect --losses lists them" if _losses(m) else None),
            ("lineage", ", ".join(f"{name} {value}" for name, value in (m.lineage or {}).items()
                                  if name != "conversion" or not _conversion(m))),
            ("content", f"sha256 {m.content_digest}"),
        ]
    )  # fmt: skip
    click.echo()
    print_table(
        ["member", "bytes", "at"],
        [(name, f"{member.size_bytes:,}", f"{member.offset:,}") for name, member in archive.members.items()],
    )


def _conversion(m: Manifest) -> str | None:
    """Return which file was converted; None where the account of it does not say so, and is shown as it is."""
    account = (m.lineage or {}).get("conversion")
    source = account.get("source") if isinstance(account, dict) else None
    if not isinstance(source, dict):
        return None
    return f"from {source.get('name')} ({source.get('container')}), {source.get('state_path')}, " + (
        f"{source.get('size_bytes')} bytes, sha256 {source.get('sha256')}"
    )


def _losses(m: Manifest) -> list[dict[str, Any]]:
    account = (m.lineage or {}).get("conversion")
    losses = account.get("losses") if isinstance(account, dict) else None
    return [loss for loss in losses if isinstance(loss, dict)] if isinstance(losses, list) else []


def _print_losses(m: Manifest) -> None:
    rows = [[loss.get(column, "") for column in ("path", "was", "became")] for loss in _losses(m)]
    if rows:
        print_table(["path", "was", "became"], rows)
    else:
        click.echo("nothing is recorded as lost")


def _kind(m: Manifest) -> str | None:
    return f"{m.architecture.kind}, config schema {m.architecture.schema_version}" if m.architecture else None


def _code(m: Manifest) -> str | None:
    return f"{m.code.distribution} {m.code.version}" if m.code else None


def _requires(m: Manifest) -> str:
    told: list[str] = []
    for name, value in m.requires.items():
        told += map(str, value) if isinstance(value, list) else [f"{name} {value}"]
    return ", ".join(told)


def _source(m: Manifest) -> str | None:
    if m.code is None or (m.code.repository is None and m.code.commit is None):
        return None
    state = {True: ", with uncommitted changes", False: "", None: ""}[m.code.dirty]
    return f"{m.code.repository or 'repository unknown'} @ {m.code.commit or 'commit unknown'}{state}"


def _training(archive: Archive) -> str | None:
    """Return what is plain in the account of the training; one that is long is named instead of read."""
    member = archive.members.get(TRAINING)
    if member is not None and member.size_bytes > _SHORT_BYTES:
        return f"{size_text(member.size_bytes)}; mpt inspect --training prints them"
    account = {**(archive.manifest.training or {}), **(archive.training or {})}
    return ", ".join(f"{name} {value}" for name, value in account.items() if not isinstance(value, (dict, list)))


def _print_tensors(m: Manifest) -> None:
    click.echo()
    rows: list[tuple[str, ...]] = [
        (record.name, record.dtype, "x".join(map(str, record.shape)) or "scalar", record.kind, record.sha256[:12])
        for record in m.tensors.values()
    ]
    rows += [
        (alias.name, "", "", f"same as {alias.canonical}" if alias.view is None else f"view of {alias.canonical}", "")
        for alias in m.aliases.values()
    ]
    print_table(["tensor", "dtype", "shape", "kind", "sha256"], rows)
