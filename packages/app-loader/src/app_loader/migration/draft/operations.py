"""From matches to the operations of a revision: what is certain as few rules, the rest as questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from policy_interface.migrations import (
    Add,
    Cat,
    Choose,
    Drop,
    Rename,
    Reshape,
    Split,
    Stack,
    TensorOp,
    Transpose,
)

from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.compress import compress_renames
from app_loader.migration.draft.trial import Settled, flat, open_sides


def certain_operations(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo]
) -> list[TensorOp]:
    """Return the operations that the certain matches need: cuts, then renames, then what is made under the new names.

    An old tensor whose name something else takes over, and that does not move by itself, is put aside first.

    Args:
        matches: one per new tensor.
        old: tensors before.
        new: tensors after.
    """
    sure = [match for match in matches if match.confidence == "auto" and match.old is not None]
    aside = in_the_way(matches, old)
    before = {aside.get(t.key, t.key): t for t in old}
    after = {t.key: t for t in new}
    sure = [replace(match, old=_renamed_source(match.old, aside)) for match in sure]
    renamed = {str(m.old): m.new for m in sure if m.op in _IN_PLACE and m.old != m.new}
    made = [op for match in sure for op in _made(match, before, after)]
    return [
        *(Rename(old=key, new=name) for key, name in aside.items()),
        *_cuts(sure, after),
        *_renames(renamed, list(before), list(after)),
        *made,
    ]


def in_the_way(matches: Sequence[Match], old: Sequence[TensorInfo]) -> dict[str, str]:
    """Return the old tensors whose names something else takes over while they stay, each with a name to wait under."""
    sure = {match.new: match for match in matches if match.confidence == "auto" and match.old is not None}
    moving = {m.old for m in sure.values() if m.op in _IN_PLACE}  # these make room themselves, or stay what they are
    return {t.key: f"aside.{t.key}" for t in old if t.key in sure and t.key not in moving}


def _renamed_source(source: Any, names: Mapping[str, str]) -> Any:
    if isinstance(source, str):
        return names.get(source, source)
    return None if source is None else tuple(_renamed_source(part, names) for part in source)


_IN_PLACE = ("copy", "transpose", "reshape")


def _made(match: Match, before: dict[str, TensorInfo], after: dict[str, TensorInfo]) -> list[TensorOp]:
    parts = flat(match.old)
    if match.op == "cat":
        sizes = tuple(before[key].shape[match.dim or 0] for key in parts)
        equal = len(set(sizes)) == 1
        return [Cat(parts=parts, whole=match.new, dim=match.dim or 0, sizes=() if equal else sizes)]
    if match.op == "stack":
        return [Stack(parts=parts, whole=match.new, dim=match.dim or 0)]
    if match.op == "stack(cat0)" and match.old is not None:
        rows = [flat(row) for row in match.old]
        inner = [f"{match.new}.{i}" for i in range(len(rows))]
        joined = [Cat(parts=row, whole=name) for row, name in zip(rows, inner, strict=True)]
        return [*joined, Stack(parts=tuple(inner), whole=match.new)]
    if match.op == "transpose":
        return [Transpose(key=match.new)]
    if match.op == "reshape":
        return [Reshape(key=match.new, old=before[parts[0]].shape, new=after[match.new].shape)]
    return []


def _cuts(sure: Sequence[Match], after: dict[str, TensorInfo]) -> list[TensorOp]:
    slices: dict[str, list[Match]] = {}
    for match in sure:
        if match.op == "slice":
            slices.setdefault(str(match.old), []).append(match)
    ops: list[TensorOp] = []
    for whole, cut in slices.items():
        cut.sort(key=lambda m: m.start or 0)
        dim = cut[0].dim or 0
        lengths = tuple(after[m.new].shape[dim] for m in cut)
        same = len(set(lengths)) == 1
        ops.append(Split(whole=whole, parts=tuple(m.new for m in cut), dim=dim, sizes=() if same else lengths))
    return ops


def _renames(renamed: Mapping[str, str], old: Sequence[str], new: Sequence[str]) -> list[TensorOp]:
    if not any(target in renamed for target in renamed.values()):
        return list(compress_renames(renamed, old, new))
    # Keys that trade places go through names of their own, so that no step overwrites what the next one needs.
    first = [Rename(old=key, new=f"moving.{target}") for key, target in renamed.items()]
    second = [Rename(old=f"moving.{target}", new=target) for target in renamed.values()]
    return [*first, *second]


def open_operations(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo], settled: Settled | None
) -> list[TensorOp]:
    """Return a question for every new tensor that nothing certain gives, and a drop for every old one left over."""
    open_new, open_old = open_sides(matches, old, new)
    aside = in_the_way(matches, old)
    by_new = {match.new: match for match in matches}
    ops: list[TensorOp] = []
    asked: set[str] = set()
    for tensor in open_new:
        match = by_new[tensor.key]
        if settled is not None and tensor.key in settled.fresh:
            ops.append(
                Add(
                    key=tensor.key,
                    shape=tensor.shape,
                    init=settled.fresh[tensor.key],
                    reason="nothing in the archive gives it, and with this beginning the witness is met",
                    dtype=tensor.dtype,
                    kind="buffer" if tensor.kind == "buffer" else "parameter",
                )
            )
            continue
        candidates = tuple(dict.fromkeys((*flat(match.old), *match.candidates)))
        asked.update(candidates)
        ops.append(Choose(key=tensor.key, candidates=candidates, evidence=match.evidence))
    for tensor in open_old:
        if tensor.key not in asked:
            buffer = tensor.kind == "buffer"
            reason = "a buffer that nothing in the code takes" if buffer else ""  # empty: the check asks for it
            ops.append(Drop(key=aside.get(tensor.key, tensor.key), reason=reason, recomputed=buffer))
    return ops
