"""Operations that make one tensor of several and several of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from policy_interface.migrations import KeyTemplate, Split, Unstack
from torch import Tensor

from app_loader.revisions._step import Step
from app_loader.revisions.lazy import LazyTensor


def apply_cat(step: Step) -> None:
    """Join tensors along an axis."""
    dim = step.op.dim
    _join(step, lambda *parts: torch.cat(parts, dim), in_rows=dim == 0)


def apply_stack(step: Step) -> None:
    """Join tensors along a new axis."""
    dim = step.op.dim
    _join(step, lambda *parts: torch.stack(parts, dim))


def _gathered(step: Step, parts: Sequence[str]) -> list[tuple[dict[str, str], list[str]]]:
    """For every match of the first part: its fields and the keys of all parts."""
    found = []
    for _, fields in step.fitting(parts[0]):
        keys = [KeyTemplate(part).fill(fields) for part in parts]
        missing = [key for key in keys if key not in step.state.tensors]
        if missing and not step.for_slots:
            step.problem(f"{', '.join(missing)} should be joined and is not there")
        elif not missing:
            found.append((fields, keys))
    return found


def _join(step: Step, compute: Callable[..., Tensor], *, in_rows: bool = False) -> None:
    for fields, keys in _gathered(step, step.op.parts):
        parts = tuple(step.state.tensors[key] for key in keys)
        whole = KeyTemplate(step.op.whole).fill(fields)
        try:
            joined = LazyTensor.join(parts, compute, in_rows=in_rows)
        except RuntimeError as error:
            step.problem(f"{', '.join(keys)}: {error}")
            continue
        step.replace(keys, {whole: (joined, step.sources(*keys))})


def apply_split(step: Step) -> None:
    """Cut a tensor along an axis."""
    op: Split = step.op
    for key, fields in step.fitting(op.whole):
        whole = step.state.tensors[key]
        length = whole.shape[op.dim]
        sizes = op.sizes or (length // len(op.parts),) * len(op.parts)
        if sum(sizes) != length:
            step.problem(f"{key!r} has {length} along axis {op.dim}, the parts have {sum(sizes)}")
            continue
        come: dict[str, tuple[LazyTensor, tuple[str, ...]]] = {}
        start = 0
        for part, size in zip(op.parts, sizes, strict=True):
            cut = whole.then(_narrow(op.dim, start, size))
            come[KeyTemplate(part).fill(fields)] = (cut, step.sources(key))
            start += size
        step.replace([key], come)


def _narrow(dim: int, start: int, size: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.narrow(dim, start, size)


def apply_unstack(step: Step) -> None:
    """Take a tensor apart along an axis, which is gone afterwards."""
    op: Unstack = step.op
    for key, fields in step.fitting(op.whole):
        whole = step.state.tensors[key]
        if whole.shape[op.dim] != len(op.parts):
            step.problem(f"{key!r} has {whole.shape[op.dim]} along axis {op.dim}, there are {len(op.parts)} parts")
            continue
        come = {
            KeyTemplate(part).fill(fields): (whole.then(_select(op.dim, i)), step.sources(key))
            for i, part in enumerate(op.parts)
        }
        step.replace([key], come)


def _select(dim: int, index: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.select(dim, index)
