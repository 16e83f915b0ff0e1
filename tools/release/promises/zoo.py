"""What a zoo promises for every kind: the config's schema, the tensors, the behaviour.

A change of any of them needs two things: a version that says so, and a revision for that kind that is new since the
last release, because without one no checkpoint of the old version ever reaches the new code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.version import Version

from tools.release.promises.change import Bump, Change
from tools.release.promises.probe import run_probe
from tools.release.promises.schema import compare_schemas

TOLERANCE = 1e-5
"""The largest difference of an output, absolute and relative, that is still the same behaviour."""


def compare_zoos(old: Path, new: Path, released: Version) -> Iterator[Change]:
    """Yield what differs between two unpacked wheels of one zoo.

    Args:
        old: the last release.
        new: what would follow it.
        released: the version of the last release: a revision covers a change when its code came after it.
    """
    then = run_probe("zoo", [old], {})["kinds"]
    configs = {
        kind: {name: found["config"] for name, found in described["under"].items() if found is not None}
        for kind, described in then.items()
    }
    probed = run_probe("zoo", [new], configs)
    now, covered = probed["kinds"], _covered_kinds(probed["revisions"], released)
    for kind in then:
        if kind not in now:
            yield Change(promise="kind", where=kind, what="removed", bump=Bump.MAJOR)
            continue
        # one change shows under several rules; it is told once
        changes = list(dict.fromkeys(_compare_kind(kind, then[kind], now[kind])))
        yield from changes
        if kind not in covered and any(change.bump is Bump.MAJOR for change in changes):
            what = f"changed, and no reviewed revision since {released} names it: no older checkpoint can follow"
            yield Change(promise="revision", where=kind, what=what, bump=Bump.MAJOR)
    for kind in now.keys() - then.keys():
        yield Change(promise="kind", where=kind, what="added", bump=Bump.MINOR)


def _covered_kinds(revisions: Sequence[Mapping[str, Any]], released: Version) -> set[str]:
    later = [one for one in revisions if one["reviewed"] and Version(one["since"]) > released]
    return {kind for revision in later for kind in revision["kinds"]}


def _compare_kind(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    changes = list(compare_schemas("config", kind, old["schema"], new["schema"]))
    yield from changes
    fields_changed = any(c.bump is Bump.MAJOR and not c.what.startswith("default") for c in changes)
    if fields_changed and old["schema_version"] == new["schema_version"]:
        what = f"fields changed but schema_version stayed {old['schema_version']}"
        yield Change(promise="config", where=kind, what=what, bump=Bump.MAJOR)
    for name, then in old["under"].items():
        now = new["under"].get(name)
        where = f"{kind} ({name})"
        if then is not None and now is None:
            yield Change(promise="kind", where=where, what="these rules are refused now", bump=Bump.MAJOR)
        elif then is None and now is not None:
            yield Change(promise="kind", where=where, what="these rules are served now", bump=Bump.MINOR)
        elif then is not None and now is not None:
            yield from _tensors(kind, then["tensors"], now["tensors"])
            yield from _outputs(where, then, now)


def _tensors(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name, was in old.items():
        if name not in new:
            yield Change(promise="tensors", where=f"{kind} {name}", what="removed", bump=Bump.MAJOR)
        elif new[name] != was:
            what = f"changed: {_shape(was)} -> {_shape(new[name])}"
            yield Change(promise="tensors", where=f"{kind} {name}", what=what, bump=Bump.MAJOR)
    for name, now in new.items():
        if name not in old:
            yield Change(promise="tensors", where=f"{kind} {name}", what=f"added: {_shape(now)}", bump=Bump.MAJOR)


def _shape(described: Sequence[Any]) -> str:
    shape, dtype = described
    return f"{dtype.removeprefix('torch.')} {shape}"


def _outputs(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for capability in old["capabilities"]:
        if capability not in new["capabilities"]:
            yield Change(promise="behaviour", where=where, what=f"{capability} is no longer given", bump=Bump.MAJOR)
    for capability in new["capabilities"]:
        if capability not in old["capabilities"]:
            yield Change(promise="behaviour", where=where, what=f"{capability} is given now", bump=Bump.MINOR)
    shapes = [list(side["tensors"].values()) for side in (old, new)]
    if shapes[0] != shapes[1]:  # other parameters were filled: the outputs say nothing
        return
    for name, then in old["behaviour"].items():
        now = new["behaviour"].get(name)
        if now is not None and not _close(then, now):
            difference = max((abs(a - b) for a, b in zip(then, now, strict=False)), default=math.inf)
            what = f"with equal weights, {name} differs by up to {difference:.3g}"
            yield Change(promise="behaviour", where=where, what=what, bump=Bump.MAJOR)
            return  # every later output follows from the first that differs


def _close(old: Sequence[float], new: Sequence[float]) -> bool:
    pairs = zip(old, new, strict=False)
    return len(old) == len(new) and all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in pairs)
