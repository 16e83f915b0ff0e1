"""Which verbs `mpt` has, without importing any of them.

Built-in verbs stand in a table: module, attribute, and the line for `mpt --help`. Other distributions join through the
entry-point group `mpt.commands`; they are looked up only for a verb that is not built in, and for `--help`. A built-in
verb cannot be replaced from outside.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import click

GROUP: Final = "mpt.commands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A built-in verb.

    Attributes:
        module: the module that defines it.
        attribute: the `click.Command` in it.
        summary: the line for `mpt --help`.
    """

    module: str
    attribute: str
    summary: str


BUILT_IN: Final = {
    "audit": Verb(
        module="mpt_format.cli.audit", attribute="audit", summary="Say what keeps a checkpoint from loading."
    ),
    "convert": Verb(
        module="mpt_format.cli.convert", attribute="convert", summary="Turn a foreign checkpoint into an archive."
    ),
    "diff": Verb(module="mpt_format.cli.diff", attribute="diff", summary="Compare two archives."),
    "inspect": Verb(module="mpt_format.cli.inspect", attribute="inspect", summary="Show what an archive holds."),
    "pack": Verb(module="mpt_format.cli.pack", attribute="pack", summary="Build an archive from a folder."),
    "sign": Verb(module="mpt_format.cli.sign", attribute="sign", summary="Sign an archive with a private key."),
    "unpack": Verb(module="mpt_format.cli.pack", attribute="unpack", summary="Write an archive's members as files."),
    "verify": Verb(module="mpt_format.cli.verify", attribute="verify", summary="Check an archive's bytes."),
}


def load_verb(name: str) -> click.Command | None:
    """Return the command of a verb, or None when nothing provides it."""
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        command: click.Command = getattr(importlib.import_module(built_in.module), built_in.attribute)
        return command
    entry_point = joined_verbs().get(name)
    if entry_point is None:
        return None
    joined: click.Command = entry_point.load()
    return joined


def joined_verbs() -> dict[str, EntryPoint]:
    """Return the verbs that other installed distributions add, sorted by name."""
    from importlib.metadata import entry_points  # 20 ms: not paid by the built-in verbs

    found = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}
    return dict(sorted(found.items()))
