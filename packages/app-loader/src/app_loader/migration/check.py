"""What must hold of a migrated state before it is written.

Nothing is missing, nothing is left over, nothing is fresh unless an `Add` says so, and undoing gives the bytes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mpt_format import Archive
from policy_interface.migrations import Add, InvalidMigrationError, Rename
from torch import nn

from app_loader.errors import LOAD_TRAINED, MigrationError
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.migrated import Migrated, follow
from app_loader.revisions.route import Route
from app_loader.revisions.tensors import TensorState, apply_tensor_ops


def check_bijection(migrated: Migrated, module: nn.Module, *, subject: str) -> None:
    """Check that the migrated tensors are exactly those of the new code, and that only `Add` leaves a fresh one.

    Raises:
        MigrationError: with every key that is missing, left over, or has another shape or type.
    """
    problems = list(_fit_problems(migrated, module))
    if problems:
        raise MigrationError(subject, problems, "mpt diagnose ARCHIVE")


def _fit_problems(migrated: Migrated, module: nn.Module) -> Iterator[str]:
    wanted = {key: value for key, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    adds = any(isinstance(op, Add) for revision in migrated.route.revisions for op in revision.tensors)
    for key, value in wanted.items():
        have = migrated.tensors.get(key)
        if have is None:
            yield f"{key}: the code has it and nothing gives it"
        elif have.shape != tuple(value.shape):
            yield f"{key}: shaped {list(have.shape)}, the code expects {list(value.shape)}"
        elif have.meta.dtype != value.dtype and have.meta.dtype.is_floating_point != value.dtype.is_floating_point:
            yield f"{key}: of type {have.meta.dtype}, the code expects {value.dtype}"
        elif not migrated.sources.get(key) and not adds and not migrated.route.backwards:
            yield f"{key}: nothing of the archive reaches it and no Add says so"
    for key in migrated.tensors:
        if key not in wanted:
            yield f"{key}: left over, the code does not have it"


def check_round_trip(archive: Archive, route: Route, *, subject: str, migrated: Migrated | None = None) -> str:
    """Undo what was done and compare every tensor with the archive's, byte for byte.

    Args:
        archive: the old one.
        route: what was followed.
        subject: the archive, for errors.
        migrated: the state at the end of the route, where it is at hand: undoing begins with these very numbers.

    Returns:
        ``bytes equal``, or why the route cannot be undone.

    Raises:
        MigrationError: undoing gives other bytes, or would lose what was learned since.
    """
    migrated = migrated or follow(archive, route)
    state = TensorState.of(migrated.tensors)
    document: Mapping[str, Any] = migrated.architecture
    try:
        apply_tensor_ops(state, _inverted(migrated.rewrap), {}, subject=subject)
        for revision in reversed(route.revisions):
            ops = revision.tensors if route.backwards else revision.inverted_tensors()
            apply_tensor_ops(state, ops, document["config"], subject=subject)
            for change in revision.config if route.backwards else revision.inverted_config():
                document = change.apply(document)
        apply_tensor_ops(state, _inverted(migrated.unwrap), {}, subject=subject)
    except InvalidMigrationError as error:
        return f"not reversible: {error.problems[0]}"
    problems = [f"{key}: undoing does not give it back" for key in migrated.original if key not in state.tensors]
    for key, lazy in state.tensors.items():
        before = migrated.original.get(key)
        if before is None or not _same_bytes(before, lazy, key):
            problems.append(f"{key}: undoing gives other numbers")
    if dict(document) != dict(archive.architecture):
        problems.append("undoing gives another architecture document")
    if problems:
        told = f"{LOAD_TRAINED}; in the zoo, mend the revision or say irreversible='why'"
        raise MigrationError(subject, problems, told)
    return "bytes equal"


def _inverted(rename: Rename | None) -> list[Rename]:
    return [] if rename is None else [rename.inverted()]


def _same_bytes(one: LazyTensor, other: LazyTensor, key: str) -> bool:
    if one is other:
        return True  # only its name went to and fro: there is nothing to read
    if one.shape != other.shape or one.meta.dtype != other.meta.dtype:
        return False
    raw = (each.compute(key).contiguous().flatten().view(torch.uint8) for each in (one, other))
    return bool(torch.equal(*raw)) if one.size_bytes else True
