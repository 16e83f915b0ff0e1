"""The public API of two releases, compared from their sources: what broke and what was added.

Nothing is imported; griffe reads the sources. Public is what no part of whose dotted name begins with an underscore.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import griffe

from tools.release.promises.change import Bump, Change


def compare_apis(module: str, old: Path, new: Path) -> Iterator[Change]:
    """Yield what differs between the public APIs of a package that stands in two folders."""
    before, after = _load(module, old), _load(module, new)
    seen = set()
    for breakage in griffe.find_breaking_changes(before, after):
        where = breakage.obj.canonical_path
        change = Change(promise="api", where=where, what=_explain(breakage), bump=Bump.MAJOR)
        if not _is_private(where) and change not in seen:  # an object that is exported in two places breaks once
            seen.add(change)
            yield change
    then, now = _public_objects(before), _public_objects(after)
    for path in sorted(then.keys() & now.keys()):  # griffe does not look at constants
        values = (_literal(then[path]), _literal(now[path]))
        if None not in values and values[0] != values[1]:
            what = f"constant was changed: {values[0]} -> {values[1]}"
            yield Change(promise="api", where=path, what=what, bump=Bump.MAJOR)
    for path in sorted(now.keys() - then.keys()):
        yield Change(promise="api", where=path, what="added", bump=Bump.MINOR)


def _load(module: str, folder: Path) -> griffe.Object:
    logging.getLogger("griffe").setLevel(logging.ERROR)  # unresolvable aliases to torch are expected
    loaded = griffe.load(module, search_paths=[folder], allow_inspection=False, resolve_aliases=True)
    assert isinstance(loaded, griffe.Object)
    return loaded


def _explain(breakage: griffe.Breakage) -> str:
    values = f": {breakage.old_value} -> {breakage.new_value}"
    kind = breakage.kind.value.lower()
    return kind if breakage.kind is griffe.BreakageKind.OBJECT_REMOVED else kind + values


def _is_private(path: str) -> bool:
    parts = path.split(".")
    return any(part.startswith("_") and not part.startswith("__") for part in parts)


def _literal(item: griffe.Object | griffe.Alias) -> str | None:
    """Return the source of a constant that is one number or text, or None."""
    value = item.value if isinstance(item, griffe.Attribute) and item.name.isupper() else None
    return value if isinstance(value, str) else None  # anything else is an expression


def _public_objects(root: griffe.Object) -> dict[str, griffe.Object | griffe.Alias]:
    found: dict[str, griffe.Object | griffe.Alias] = {}
    pending: list[griffe.Object | griffe.Alias] = [root]
    while pending:
        item = pending.pop()
        for member in item.members.values():
            if member.is_alias or _is_private(member.path) or member.name.startswith("__"):
                continue
            found[member.path] = member
            if member.is_module or member.is_class:
                pending.append(member)
    return found
