"""Prints the verbs of the `mpt` command that an unpacked wheel brings, with their arguments and options, as JSON."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click


def describe(command: click.Command) -> Any:
    parameters = {
        parameter.name or "": [parameter.param_type_name, sorted(parameter.opts), parameter.required]
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
    }
    verbs = command.commands if isinstance(command, click.Group) else {}
    return {"parameters": parameters, "verbs": {name: describe(verb) for name, verb in verbs.items()}}


def own_verbs(folder: Path) -> dict[str, Any]:
    """Return the verbs of the format, if the wheel is the format's: only its own, not those that others join."""
    if not (folder / "mpt_format/cli").is_dir():
        return {}
    from mpt_format.cli import mpt

    context = click.Context(mpt)
    found = {name: mpt.get_command(context, name) for name in mpt.list_commands(context)}
    return {
        name: describe(verb)
        for name, verb in found.items()
        if verb is not None and verb.callback is not None and verb.callback.__module__.startswith("mpt_format.")
    }


def joined_verbs(folder: Path) -> dict[str, Any]:
    return {
        entry.name: describe(entry.load())
        for distribution in metadata.distributions(path=[str(folder)])
        for entry in distribution.entry_points
        if entry.group == "mpt.commands"
    }


def main() -> None:
    folder = Path(sys.argv[1])
    json.dump({**own_verbs(folder), **joined_verbs(folder)}, sys.stdout, sort_keys=True)


main()
