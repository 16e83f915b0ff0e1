"""Apply tensor operations to a state dict of lazy tensors, and tell for every key where it came from.

Strict: an operation that no key fits, a part that is not there and a key that would be overwritten are problems, all
collected before anything is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from policy_interface.migrations import (
    Add,
    Alias,
    Cast,
    Cat,
    Choose,
    Drop,
    Function,
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

from app_loader.errors import MigrationError
from app_loader.revisions._joining import apply_cat, apply_split, apply_stack, apply_unstack
from app_loader.revisions._naming import (
    apply_add,
    apply_alias,
    apply_drop,
    apply_reindex,
    apply_rename,
    apply_unalias,
)
from app_loader.revisions._shaping import apply_cast, apply_function, apply_reshape, apply_resize, apply_transpose
from app_loader.revisions._step import Step, TensorState

__all__ = ["TensorState", "apply_tensor_ops"]


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
        _APPLY[type(op)](Step(state, op, config, for_slots))
    if state.problems:
        raise MigrationError(subject, state.problems, "mpt diagnose ARCHIVE")


def apply_choose(step: Step) -> None:
    """Refuse an open question of a draft."""
    step.problem(f"{step.op.key!r} is an open question of a draft")


_APPLY: dict[type, Callable[[Step], None]] = {
    Add: apply_add,
    Alias: apply_alias,
    Cast: apply_cast,
    Cat: apply_cat,
    Choose: apply_choose,
    Drop: apply_drop,
    Function: apply_function,
    Reindex: apply_reindex,
    Rename: apply_rename,
    Reshape: apply_reshape,
    Resize: apply_resize,
    Split: apply_split,
    Stack: apply_stack,
    Transpose: apply_transpose,
    Unalias: apply_unalias,
    Unstack: apply_unstack,
}
