"""Apply tensor operations to a state dict of lazy tensors, and tell for every key where it came from.

Strict: an operation that no key fits, a part that is not there and a key that would be overwritten are problems, all
collected
before anything is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from policy_interface.migrations import (
    Add,
    Alias,
    Cast,
    Cat,
    Choose,
    Drop,
    Function,
    KeyTemplate,
    Reindex,
    Rename,
    Reshape,
    Resize,
    Split,
    Stack,
    TensorOp,
    Transpose,
    Unalias,
    Unstack,
)
from torch import Tensor

from app_loader.errors import MigrationError
from app_loader.revisions.lazy import LazyTensor


@dataclass(slots=True)
class TensorState:
    """Tensors on their way through a plan.

    Attributes:
        tensors: key to lazy tensor.
        sources: key to the keys of the beginning that it was made of; empty for an added one.
        problems: what did not fit.
    """

    tensors: dict[str, LazyTensor]
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tensors: Mapping[str, LazyTensor]) -> TensorState:
        """Begin with these tensors."""
        return cls(dict(tensors), {key: (key,) for key in tensors})


def apply_tensor_ops(
    state: TensorState, ops: Iterable[TensorOp], config: Mapping[str, Any], *, subject: str, for_slots: bool = False
) -> None:
    """Apply operations in place.

    Args:
        state: what to change.
        ops: in order.
        config: the config document, for `Function`.
        subject: the revision, for the error.
        for_slots: the tensors are an optimizer's slots: keys may be missing, added ones have none, and what is not
        linear
            loses its slots.

    Raises:
        MigrationError: with every operation that does not fit.
    """
    for op in ops:
        _APPLY[type(op)](_Step(state, op, config, for_slots))
    if state.problems:
        raise MigrationError(subject, state.problems, "mpt diagnose ARCHIVE")


@dataclass(slots=True)
class _Step:
    """One operation at work."""

    state: TensorState
    op: Any
    config: Mapping[str, Any]
    for_slots: bool

    def fitting(self, template: str) -> list[tuple[str, dict[str, str]]]:
        """Return the keys that fit a template, with their fields."""
        compiled = KeyTemplate(template)
        if compiled.is_plain:
            found = [(template, dict[str, str]())] if template in self.state.tensors else []
        else:
            found = [(key, fields) for key in self.state.tensors if (fields := compiled.match(key)) is not None]
        if not found and not self.for_slots and not getattr(self.op, "optional", False):
            self.problem(f"no key fits {template!r}")
        return found

    def problem(self, text: str) -> None:
        """Note what does not fit."""
        self.state.problems.append(f"{type(self.op).__name__}: {text}")

    def replace(self, gone: Sequence[str], come: Mapping[str, tuple[LazyTensor, tuple[str, ...]]]) -> None:
        """Take keys away and put others in."""
        for key in gone:
            self.state.tensors.pop(key)
            self.state.sources.pop(key, None)
        for key, (tensor, sources) in come.items():
            if key in self.state.tensors:
                self.problem(f"{key!r} is there already")
            self.state.tensors[key] = tensor
            self.state.sources[key] = sources

    def in_place(self, template: str, compute: Callable[[Tensor], Tensor]) -> None:
        """Change every tensor that fits a template."""
        for key, _ in self.fitting(template):
            try:
                self.state.tensors[key] = self.state.tensors[key].then(compute)
            except RuntimeError as error:
                self.problem(f"{key!r} shaped {list(self.state.tensors[key].shape)}: {error}")

    def sources(self, *keys: str) -> tuple[str, ...]:
        """Return the first keys that these were made of."""
        return tuple(source for key in keys for source in self.state.sources.get(key, ()))


def _rename(step: _Step) -> None:
    new = KeyTemplate(step.op.new)
    moved = {key: new.fill(fields) for key, fields in step.fitting(step.op.old)}
    _move(step, moved)


def _move(step: _Step, moved: Mapping[str, str]) -> None:
    come = {name: (step.state.tensors[key], step.sources(key)) for key, name in moved.items()}
    step.replace(list(moved), come)


def _drop(step: _Step) -> None:
    step.replace([key for key, _ in step.fitting(step.op.key)], {})


def _add(step: _Step) -> None:
    op: Add = step.op
    if step.for_slots:
        return
    dtype = getattr(torch, op.dtype)
    fill = {"zeros": torch.zeros, "ones": torch.ones}[op.init]
    meta = torch.empty(op.shape, dtype=dtype, device="meta")
    tensor = LazyTensor(meta=meta, make=lambda: fill(op.shape, dtype=dtype), kind=op.kind)
    step.replace([], {op.key: (tensor, ())})


def _gathered(step: _Step, parts: Sequence[str]) -> list[tuple[dict[str, str], list[str]]]:
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


def _join(step: _Step, compute: Callable[..., Tensor], *, in_rows: bool = False) -> None:
    for fields, keys in _gathered(step, step.op.parts):
        parts = tuple(step.state.tensors[key] for key in keys)
        whole = KeyTemplate(step.op.whole).fill(fields)
        try:
            joined = LazyTensor.join(parts, compute, in_rows=in_rows)
        except RuntimeError as error:
            step.problem(f"{', '.join(keys)}: {error}")
            continue
        step.replace(keys, {whole: (joined, step.sources(*keys))})


def _cat(step: _Step) -> None:
    dim = step.op.dim
    _join(step, lambda *parts: torch.cat(parts, dim), in_rows=dim == 0)


def _stack(step: _Step) -> None:
    dim = step.op.dim
    _join(step, lambda *parts: torch.stack(parts, dim))


def _split(step: _Step) -> None:
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


def _unstack(step: _Step) -> None:
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


def _transpose(step: _Step) -> None:
    first, second = step.op.dims
    step.in_place(step.op.key, lambda tensor: tensor.transpose(first, second))


def _reshape(step: _Step) -> None:
    op: Reshape = step.op

    def compute(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape) != op.old:
            raise RuntimeError(f"expected the shape {list(op.old)}")
        return tensor.reshape(op.new)

    step.in_place(op.key, compute)


def _resize(step: _Step) -> None:
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


def _reindex(step: _Step) -> None:
    numbers = dict(step.op.numbers)
    moved = {}
    template = step.op.consumes[0]
    for key, fields in step.fitting(template):
        number = int(fields["_number"])
        if number in numbers and numbers[number] != number:
            moved[key] = KeyTemplate(template).fill({**fields, "_number": str(numbers[number])})
    _move(step, moved)


def _alias(step: _Step) -> None:
    op: Alias = step.op
    if op.of not in step.state.tensors:
        if not step.for_slots:
            step.problem(f"{op.of!r} is not there to be shared")
        return
    if not step.for_slots:
        step.replace([], {op.key: (step.state.tensors[op.of], step.sources(op.of))})


def _unalias(step: _Step) -> None:
    op: Unalias = step.op
    if op.keep:
        step.in_place(op.key, lambda tensor: tensor.clone())
    elif op.key in step.state.tensors:
        step.replace([op.key], {})
    elif not step.for_slots:
        step.problem(f"{op.key!r} is not there")


def _cast(step: _Step) -> None:
    dtype = getattr(torch, step.op.new)
    step.in_place(step.op.key, lambda tensor: tensor.to(dtype))


def _function(step: _Step) -> None:
    op: Function = step.op
    if step.for_slots and not op.linear:
        step.replace([key for key, _ in step.fitting(op.keys)], {})
        return
    step.in_place(op.keys, lambda tensor: op.apply(tensor, step.config))


def _choose(step: _Step) -> None:
    step.problem(f"{step.op.key!r} is an open question of a draft")


_APPLY: dict[type, Callable[[_Step], None]] = {
    Add: _add,
    Alias: _alias,
    Cast: _cast,
    Cat: _cat,
    Choose: _choose,
    Drop: _drop,
    Function: _function,
    Reindex: _reindex,
    Rename: _rename,
    Reshape: _reshape,
    Resize: _resize,
    Split: _split,
    Stack: _stack,
    Transpose: _transpose,
    Unalias: _unalias,
    Unstack: _unstack,
}
