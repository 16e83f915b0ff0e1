"""Operations that leave a tensor its name and give it another shape, other rows, another type or other numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from policy_interface.migrations import Function, KeyTemplate, Reshape, Resize
from torch import Tensor

from app_loader.revisions._step import Step


def apply_transpose(step: Step) -> None:
    """Exchange two axes."""
    first, second = step.op.dims
    step.in_place(step.op.key, lambda tensor: tensor.transpose(first, second))


def apply_reshape(step: Step) -> None:
    """Give the same numbers another shape."""
    op: Reshape = step.op

    def compute(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape) != op.old:
            raise RuntimeError(f"expected the shape {list(op.old)}")
        return tensor.reshape(op.new)

    step.in_place(op.key, compute)


def apply_resize(step: Step) -> None:
    """Lengthen or shorten an axis; shortening refuses to lose what was learned."""
    op: Resize = step.op
    for key, fields in step.fitting(op.key):
        tensor = step.state.tensors[key]
        if op.policy == "append":
            value = 0.0 if step.for_slots else op.value
            compute = _appended(op.dim, op.by, value, key)
        elif step.for_slots:
            step.replace([key], {})  # what one number had gathered is no measure of many
            continue
        else:
            like = KeyTemplate(op.like).fill(fields) if op.like else ""
            if like and like not in step.state.tensors:
                step.problem(f"{like!r} should tell the length of {key!r} and is not there")
                continue
            compute = _repeated(op.dim, step.state.tensors[like].shape[0] if like else op.size, key)
        try:
            step.state.tensors[key] = tensor.then(compute)
        except RuntimeError as error:
            step.problem(str(error))


def _appended(dim: int, by: int, value: float, key: str) -> Callable[[Tensor], Tensor]:
    def compute(tensor: Tensor) -> Tensor:
        if by >= 0:
            shape = list(tensor.shape)
            shape[dim] = by
            return torch.cat([tensor, torch.full(shape, value, dtype=tensor.dtype, device=tensor.device)], dim)
        length = tensor.shape[dim] + by
        kept, tail = tensor.narrow(dim, 0, length), tensor.narrow(dim, length, -by)
        if not tensor.is_meta and not bool((tail == value).all()):
            raise RuntimeError(f"{key!r}: the last {-by} rows were trained since they were added; undoing loses them")
        return kept

    return compute


def _repeated(dim: int, size: int, key: str) -> Callable[[Tensor], Tensor]:
    def compute(tensor: Tensor) -> Tensor:
        first = tensor.narrow(dim, 0, 1)
        if size == 1:
            if not tensor.is_meta and not bool((tensor == first).all()):
                raise RuntimeError(f"{key!r}: its rows were trained apart since; undoing would lose them")
            return first
        if tensor.shape[dim] != 1:
            raise RuntimeError(f"{key!r} has {tensor.shape[dim]} rows along axis {dim}, one was to be repeated")
        shape = list(tensor.shape)
        shape[dim] = size
        return tensor.expand(shape)

    return compute


def apply_cast(step: Step) -> None:
    """Give numbers another element type."""
    dtype = getattr(torch, step.op.new)
    step.in_place(step.op.key, lambda tensor: tensor.to(dtype))


def apply_function(step: Step) -> None:
    """Apply a function of model code; slots follow a linear one and are gone after any other."""
    op: Function = step.op
    if step.for_slots and not op.linear:
        step.replace([key for key, _ in step.fitting(op.keys)], {})
        return
    step.in_place(op.keys, lambda tensor: op.apply(tensor, step.config))
