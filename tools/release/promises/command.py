"""What the `mpt` command promises: no verb, argument or option goes away or becomes required."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.release.promises.change import Bump, Change
from tools.release.promises.probe import run_probe


def compare_commands(old: Path, new: Path) -> Iterator[Change]:
    """Yield what differs between the verbs that two unpacked wheels bring."""
    yield from _verbs("mpt", run_probe("command", [old]), run_probe("command", [new]))


def _verbs(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name, then in old.items():
        if name not in new:
            yield Change(promise="command", where=f"{where} {name}", what="verb removed", bump=Bump.MAJOR)
            continue
        yield from _parameters(f"{where} {name}", then["parameters"], new[name]["parameters"])
        yield from _verbs(f"{where} {name}", then["verbs"], new[name]["verbs"])
    for name in new.keys() - old.keys():
        yield Change(promise="command", where=f"{where} {name}", what="verb added", bump=Bump.MINOR)


def _parameters(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name, (kind, spellings, required) in old.items():
        if name not in new or new[name][0] != kind:
            yield Change(promise="command", where=f"{where} {name}", what=f"{kind} removed", bump=Bump.MAJOR)
            continue
        for spelling in set(spellings) - set(new[name][1]):
            what = f"spelling {spelling} removed"
            yield Change(promise="command", where=f"{where} {name}", what=what, bump=Bump.MAJOR)
        if new[name][2] and not required:
            yield Change(promise="command", where=f"{where} {name}", what=f"{kind} now required", bump=Bump.MAJOR)
    for name in new.keys() - old.keys():
        kind, _, required = new[name]
        what = f"{'required' if required else 'optional'} {kind} added"
        bump = Bump.MAJOR if required else Bump.MINOR
        yield Change(promise="command", where=f"{where} {name}", what=what, bump=bump)
