"""Stages keys, dimensions and modules: the tensors of both sides, each difference with what explains it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policy_interface.migrations import Rename

from app_loader.diagnosis.explain import Sizes
from app_loader.diagnosis.finding import DRAFT as DRAFT  # released under this name: kept
from app_loader.diagnosis.finding import Finding
from app_loader.matching import Match, TensorInfo


def judge_keys(
    old: Sequence[TensorInfo], new: Sequence[TensorInfo], matches: Sequence[Match], tied: Sequence[Sequence[str]]
) -> Iterator[Finding]:
    """Yield missing and unexpected keys, each with what it could be."""
    have, want = {t.key: t for t in old}, {t.key: t for t in new}
    used = {key for match in matches if match.confidence == "auto" for key in _flat(match.old)}
    shared = {key for group in tied for key in group[1:]}
    for match in matches:
        tensor = want[match.new]
        if match.new in have:
            if match.confidence == "auto" and match.old == match.new:
                continue
            if have[match.new].shape != tensor.shape:
                continue  # told among the dimensions
            yield Finding(
                stage="keys",
                severity="error" if match.confidence == "auto" else "warning",
                subject=match.new,
                message="the key is on both sides and may mean another tensor",
                old=_described(have[match.new]),
                new=_described(tensor),
                evidence=match.evidence,
                candidates=_candidates(match),
                next_command=DRAFT,
            )
            continue
        yield Finding(
            stage="keys",
            severity="error",
            subject=match.new,
            message="the code has this key and the archive has not" + _said(match, tensor),
            new=_described(tensor),
            evidence=match.evidence,
            candidates=_candidates(match),
            next_command=DRAFT,
        )
    for key, tensor in have.items():
        if key in want:
            continue
        rest = " (it shares its tensor with another key)" if key in shared else ""
        where = next((m.new for m in matches if m.confidence != "abstain" and key in _flat(m.old)), None)
        goes = f"; it goes to {where}" if where else ""
        yield Finding(
            stage="keys",
            severity="note" if key in used else "error" if tensor.kind == "parameter" else "warning",
            subject=key,
            message=f"the archive has this {tensor.kind} and the code has not{rest}{goes}",
            old=_described(tensor),
            candidates=(where,) if where else (),
            next_command="" if key in used else DRAFT,
        )


def judge_wrapper(rename: Rename, count: int) -> Iterator[Finding]:
    """Yield that all keys differ by a wrapper around the whole tree alone, which loading sees through."""
    yield Finding(
        stage="keys",
        severity="note",
        subject=rename.old.partition("{")[0] or rename.new.partition("{")[0],
        message=f"a wrapper around the whole policy is all that differs between the {count} keys; it is seen through",
        old=rename.old,
        new=rename.new,
    )


def judge_dimensions(old: Sequence[TensorInfo], new: Sequence[TensorInfo], sizes: Sizes) -> Iterator[Finding]:
    """Yield every key whose shape changed, axis by axis, with the value that explains it."""
    have = {t.key: t for t in old}
    for tensor in new:
        before = have.get(tensor.key)
        if before is None or before.shape == tensor.shape:
            continue
        evidence = []
        if len(before.shape) == len(tensor.shape):
            for axis, (was, now) in enumerate(zip(before.shape, tensor.shape, strict=True)):
                if was != now:
                    reasons = sizes.explain(was, now)
                    evidence.append(f"axis {axis}: {was} -> {now}" + (f", {' or '.join(reasons)}" if reasons else ""))
        else:
            evidence.append(f"{len(before.shape)} axes -> {len(tensor.shape)} axes")
        yield Finding(
            stage="dimensions",
            severity="error",
            subject=tensor.key,
            message="the same key has another shape",
            old=list(before.shape),
            new=list(tensor.shape),
            evidence=tuple(evidence),
            next_command="mpt load ARCHIVE --code trained",
        )


def judge_modules(
    old: Mapping[str, tuple[str, int | None]], new: Mapping[str, tuple[str, int | None]]
) -> Iterator[Finding]:
    """Yield every path at which another class of module, or another version of it, stands now.

    Args:
        old: module path to class name and torch's module version, of the archive.
        new: the same of the code.
    """
    for path, (kind, version) in new.items():
        if path not in old or not path:
            continue
        was, was_version = old[path]
        if was.rpartition(".")[2] != kind.rpartition(".")[2]:
            yield Finding(
                stage="modules",
                severity="warning",
                subject=path,
                message="another class of module stands at this path",
                old=was,
                new=kind,
                evidence=("equal shapes may be read in another way (transposed, split differently)",),
            )
        elif was_version != version and version is not None and was_version is not None:
            yield Finding(
                stage="modules",
                severity="warning",
                subject=path,
                message="the module's own version changed; its loading code may convert or expect other numbers",
                old=was_version,
                new=version,
            )


def _said(match: Match, tensor: TensorInfo) -> str:
    if match.confidence == "auto":
        return f"; it is {match.op} of {', '.join(_flat(match.old))}"
    if match.confidence == "suggest":
        return f"; it may be {match.op} of {', '.join(_flat(match.old))}"
    return "" if match.candidates else f"; nothing in the archive has its shape {list(tensor.shape)}"


def _candidates(match: Match) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_flat(match.old), *match.candidates)))


def _flat(source: Any) -> tuple[str, ...]:
    if source is None:
        return ()
    if isinstance(source, str):
        return (source,)
    return tuple(key for part in source for key in _flat(part))


def _described(tensor: TensorInfo) -> str:
    return f"{tensor.kind} {list(tensor.shape)} {tensor.dtype}" + (
        f" of {tensor.module_type}" if tensor.module_type else ""
    )
