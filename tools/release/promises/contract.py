"""What policy-interface promises: its API, its schemas, the keys of an output, the specs of a state, seeded draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.release.promises.api import compare_apis
from tools.release.promises.change import Bump, Change
from tools.release.promises.probe import run_probe
from tools.release.promises.schema import compare_schemas


def compare_contracts(old: Path, new: Path) -> Iterator[Change]:
    """Yield what differs between two unpacked wheels of policy-interface."""
    yield from compare_apis("policy_interface", old, new)
    before, after = run_probe("contract", [old]), run_probe("contract", [new])
    for name, schema in before["schemas"].items():
        if name in after["schemas"]:  # a class that is gone is told by the API already
            yield from compare_schemas("schema", name, schema, after["schemas"][name])
    yield from _outputs(before["output"], after["output"])
    yield from _names("output", "Capability", before["capabilities"], after["capabilities"])
    yield from _equal("api", "bases of {}", before["errors"], after["errors"])
    yield from _equal("output", "training_spec under {} rules", before["specs"], after["specs"])
    yield from _equal("schema", "fingerprint of {} rules", before["fingerprints"], after["fingerprints"])
    yield from _equal(
        "schema", "PolicyArchitecture.{}", {"to_document": before["document"]}, {"to_document": after["document"]}
    )
    yield from _equal("draw", "sample_observation under {} rules", before["draws"], after["draws"])


def _outputs(old: list[list[Any]], new: list[list[Any]]) -> Iterator[Change]:
    """Yield how PolicyOutput changed: it is unpacked by position, so a field may only be added at the end."""
    names_then, names_now = [name for name, _ in old], [name for name, _ in new]
    if names_now[: len(names_then)] != names_then:
        what = f"fields changed: {', '.join(names_then)} -> {', '.join(names_now)}"
        yield Change(promise="output", where="PolicyOutput", what=what, bump=Bump.MAJOR)
        return
    for name, optional in new[len(old) :]:
        what = f"{'optional' if optional else 'required'} field added"
        yield Change(promise="output", where=f"PolicyOutput.{name}", what=what, bump=_added(optional))


def _added(optional: bool) -> Bump:
    return Bump.MINOR if optional else Bump.MAJOR


def _names(promise: str, where: str, old: list[str], new: list[str]) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield Change(promise=promise, where=f"{where}.{name}", what="removed", bump=Bump.MAJOR)
    for name in new:
        if name not in old:
            yield Change(promise=promise, where=f"{where}.{name}", what="added", bump=Bump.MINOR)


def _equal(promise: str, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in old.keys() & new.keys():
        before, after = dict(_leaves(old[name])), dict(_leaves(new[name]))
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                place = where.format(name) + (f" at {path}" if path else "")
                what = f"changed: {before.get(path, 'none')} -> {after.get(path, 'none')}"
                yield Change(promise=promise, where=place, what=what, bump=Bump.MAJOR)


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from _leaves(value, f"{path}/{key}" if path else key)
    else:
        yield path, document
