"""Operations that give tensors other names, let them come and go, or share them: no number is touched."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from policy_interface.migrations import Add, Alias, KeyTemplate, Unalias

from app_loader.revisions._step import Step
from app_loader.revisions.lazy import LazyTensor


def apply_rename(step: Step) -> None:
    """Give keys other names."""
    new = KeyTemplate(step.op.new)
    moved = {key: new.fill(fields) for key, fields in step.fitting(step.op.old)}
    _move(step, moved)


def _move(step: Step, moved: Mapping[str, str]) -> None:
    come = {name: (step.state.tensors[key], step.sources(key)) for key, name in moved.items()}
    step.replace(list(moved), come)


def apply_drop(step: Step) -> None:
    """Take tensors away."""
    step.replace([key for key, _ in step.fitting(step.op.key)], {})


def apply_add(step: Step) -> None:
    """Put a new tensor in; an optimizer has no slots for it."""
    op: Add = step.op
    if step.for_slots:
        return
    dtype = getattr(torch, op.dtype)
    fill = {"zeros": torch.zeros, "ones": torch.ones}[op.init]
    meta = torch.empty(op.shape, dtype=dtype, device="meta")
    tensor = LazyTensor(meta=meta, make=lambda: fill(op.shape, dtype=dtype), kind=op.kind)
    step.replace([], {op.key: (tensor, ())})


def apply_reindex(step: Step) -> None:
    """Give elements of a numbered list other numbers."""
    numbers = dict(step.op.numbers)
    moved = {}
    template = step.op.consumes[0]
    for key, fields in step.fitting(template):
        number = int(fields["_number"])
        if number in numbers and numbers[number] != number:
            moved[key] = KeyTemplate(template).fill({**fields, "_number": str(numbers[number])})
    _move(step, moved)


def apply_alias(step: Step) -> None:
    """Let a key share the tensor of another one."""
    op: Alias = step.op
    if op.of not in step.state.tensors:
        if not step.for_slots:
            step.problem(f"{op.of!r} is not there to be shared")
        return
    if not step.for_slots:
        step.replace([], {op.key: (step.state.tensors[op.of], step.sources(op.of))})


def apply_unalias(step: Step) -> None:
    """Let a key cease to share a tensor."""
    op: Unalias = step.op
    if op.keep:
        step.in_place(op.key, lambda tensor: tensor.clone())
    elif op.key in step.state.tensors:
        step.replace([op.key], {})
    elif not step.for_slots:
        step.problem(f"{op.key!r} is not there")
