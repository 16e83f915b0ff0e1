"""Which fields of a config took another name, where only the tensors can tell.

A field that the code does not know, and a new one that it could be, may be one field under two names. Where more of
the archive's tensors have the shapes that the code builds once the value moves along, the draft takes it for renamed;
a person is asked all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from app_loader.diagnosis.finding import Finding
from app_loader.diagnosis.schema import value_at
from app_loader.matching import TensorInfo

Build = Callable[[Mapping[str, Any]], Sequence[TensorInfo] | None]
"""Returns the tensors that the code makes of a document; None where it makes none."""


def follow_renamed(
    document: Mapping[str, Any], config: Sequence[Finding], old: Sequence[TensorInfo], build: Build
) -> tuple[Mapping[str, Any], tuple[Finding, ...]]:
    """Return the document under the names that fit the tensors, and the findings with those renames in them.

    Args:
        document: kind, schema_version and config, as the archive has them.
        config: every difference between that config and the code's.
        old: the archive's tensors.
        build: tries a document.
    """
    findings = list(config)
    if not any(finding.change == "unknown" and finding.candidates for finding in config):
        return document, tuple(findings)  # building costs seconds for a large policy
    fits = _count_fitting(old, build(document))
    for finding in config:
        if finding.change != "unknown":
            continue
        for name in finding.candidates:
            target = beside(finding.subject, name)
            taken = next((f for f in findings if f.subject == target and f.change in ("new", "required")), None)
            tried = _renamed(document, finding.subject, name)
            if taken is None or tried is None:
                continue
            fitting = _count_fitting(old, build(tried))
            if fitting > fits:
                more = fitting - max(fits, 0)
                said = f"with {target} = {finding.old!r:.40} {more} more old tensors have a shape of the code"
                findings[findings.index(finding)] = replace(finding, change="moved", new=name, evidence=(said,))
                findings.remove(taken)
                document, fits = tried, fitting
                break
    return document, tuple(findings)


def beside(path: str, name: str) -> str:
    """Return the path of another field of the same component."""
    above = path.rpartition(".")[0]
    return f"{above}.{name}" if above else name


def _renamed(document: Mapping[str, Any], path: str, name: str) -> dict[str, Any] | None:
    made = deepcopy(dict(document))
    above, _, last = path.rpartition(".")
    fields = value_at(above, made["config"]) if above else made["config"]
    if not isinstance(fields, dict) or last not in fields or name in fields:
        return None
    fields[name] = fields.pop(last)
    return made


def _count_fitting(old: Sequence[TensorInfo], new: Sequence[TensorInfo] | None) -> int:
    if new is None:
        return -1
    return (Counter((t.shape, t.kind) for t in old) & Counter((t.shape, t.kind) for t in new)).total()
