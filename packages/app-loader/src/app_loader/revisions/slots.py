"""The optimizer's slots follow their parameters through the same plan.

A slot shaped like its parameter goes through the parameter's operations; a number (a step count) goes with the first
parameter that the
new one was made of. A parameter that is new, or that was changed in a way no slot can follow, begins without slots,
as an
optimizer does with any parameter it has not seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from app_loader.trainer_state import OptimizerState


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedSlots:
    """An optimizer's state to be.

    Attributes:
        tensors: ``PARAMETER/SLOT`` to lazy tensor.
        document: as `OptimizerState.document`.
    """

    tensors: Mapping[str, LazyTensor]
    document: dict[str, Any]


def migrate_slots(
    optimizer: OptimizerState,
    steps: Sequence[tuple[Sequence[Any], Mapping[str, Any]]],
    sources: Mapping[str, tuple[str, ...]],
    parameters: frozenset[str],
    *,
    subject: str,
) -> MigratedSlots:
    """Return the optimizer's state for the migrated parameters. Nothing is computed but shapes.

    Args:
        optimizer: the state before.
        steps: operations and config document of every revision, in order.
        sources: new parameter to the old ones that it was made of.
        parameters: names of the new parameters (not of buffers).
        subject: the archive, for errors.
    """
    by_slot: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in optimizer.tensors.items():
        parameter, _, slot = name.rpartition("/")
        by_slot[slot][parameter] = tensor
    tensors: dict[str, LazyTensor] = {}
    for slot, values in by_slot.items():
        if all(value.dim() == 0 for value in values.values()):
            tensors |= {
                f"{new}/{slot}": LazyTensor.of(values[old[0]])
                for new, old in sources.items()
                if old and old[0] in values
            }
            continue
        state = TensorState.of({name: LazyTensor.of(value) for name, value in values.items()})
        for ops, config in steps:
            apply_tensor_ops(state, ops, config, subject=subject, for_slots=True)
        tensors |= {f"{name}/{slot}": lazy for name, lazy in state.tensors.items()}
    complete = {name.rpartition("/")[0] for name in tensors} & parameters
    counts = {slot: len(values) for slot, values in by_slot.items()}
    whole = {name for name in complete if all(f"{name}/{slot}" in tensors for slot in counts)}
    scalars = optimizer.document.get("scalars", {})
    moved = {
        f"{new}/{slot}": value
        for name, value in scalars.items()
        for parameter, _, slot in [name.rpartition("/")]
        for new, old in sources.items()
        if old and old[0] == parameter and new in parameters
    }
    return MigratedSlots(
        tensors={name: value for name, value in tensors.items() if name.rpartition("/")[0] in whole},
        document={
            **optimizer.document,
            "scalars": moved,
            "groups": _groups(optimizer.document["groups"], sources, parameters),
        },
    )


def _groups(
    groups: Sequence[Mapping[str, Any]], sources: Mapping[str, tuple[str, ...]], parameters: frozenset[str]
) -> list[dict[str, Any]]:
    """Put every new parameter into the group of the first old one that it was made of; an added one into the first."""
    home = {name: i for i, group in enumerate(groups) for name in group["parameters"]}
    members: list[list[str]] = [[] for _ in groups]
    for name, old in sources.items():
        if name in parameters and (not old or old[0] in home):
            members[home[old[0]] if old else 0].append(name)
    return [{**group, "parameters": names} for group, names in zip(groups, members, strict=True)]
