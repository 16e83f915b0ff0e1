"""What an archive keeps for going on with the training: every optimizer's state, slot by slot, bit by bit.

Slots are called `PARAMETER/SLOT`, as `app_loader` names them when it saves a policy, where the parameter of each is
plain; else `NUMBER/SLOT` with the numbers of the source, in a member of another name. One whose form is not known, or
a slot of which has no plain bytes, is left out as a whole and said so.

Source: docs/format.md, section 4 (`trainer/NAME`); `app_loader/trainer_state.py`.
"""

from __future__ import annotations

__all__ = ["Trainer", "collect_trainer", "read_slot_digests"]

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from mpt_format.archive import Archive
from mpt_format.audit._container import Container
from mpt_format.audit._machine import Buffer
from mpt_format.audit._nodes import Node
from mpt_format.audit._tensors import find_tensor
from mpt_format.manifest import is_name
from mpt_format.payload import PIECE_BYTES
from mpt_format.strict_json import Json

from ._optimizer import SourceOptimizer, find_optimizers, name_parameters
from ._plan import find_parameters, locate_tensor
from ._source import Source, SourceTensor, resolve_path, search_states
from ._tensor_bytes import RecordPayload, find_excess
from ._values import ValueConverter

NAMED = "optimizer"
"""The member that holds the one optimizer whose slots are named: what `app_loader` reads and migrates."""
_MOST = 64
"""Optimizers that are kept, and state dicts that one may belong to."""
UNNAMED = "source_optimizer"
"""The member that holds the one optimizer whose slots keep the source's numbers."""


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Members of the folder `trainer/`: name -> tensors, name -> document; and the nodes that they were made of."""

    tensors: dict[str, dict[str, RecordPayload]] = field(default_factory=dict)
    documents: dict[str, Json] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Kept:
    """One optimizer, on its way: where it was, what its slots are called, what they hold."""

    optimizer: SourceOptimizer
    payloads: dict[tuple[int | str, str], RecordPayload]
    names: dict[int | str, str] | None


def collect_trainer(
    data: Buffer,
    container: Container,
    root: Node,
    source: Source,
    renamed: Mapping[str, SourceTensor],
    values: ValueConverter,
    *,
    path: str = "root",
) -> Trainer:
    """Every optimizer's state in an object; what is left out of it is told to `values`.

    Args:
        data: What the tensors of the object lie in.
        container: Of the object.
        root: The object.
        source: The state dict that is converted.
        renamed: New key -> tensor of it.
        values: What turns options into JSON, and is told of losses.
        path: What the object is called.
    """
    mine = [find_parameters(source.tensors)]
    for part in source.parts:
        mine.append(find_parameters(tensor for tensor in source.tensors if tensor.path.startswith(part)))
    chosen = set(source.parts or [source.path])
    others = [] if path != "root" else [
        find_parameters(other.tensors) for other in islice(search_states(root), _MOST) if other.path not in chosen
    ]  # fmt: skip
    chosen_nodes = [resolve_path(root, one) for one in chosen] if path == "root" else []
    kept = list(_locate(data, container, root, chosen_nodes, values, path))
    new_names = {tensor.key: new for new, tensor in renamed.items()}
    taken: Counter[str] = Counter()
    for one in kept:
        one.names = name_parameters(one.optimizer, mine, others)
        taken.update((one.names or {}).values())
    trainer = Trainer()
    for one in kept:
        if one.names is not None and any(taken[name] > 1 for name in one.names.values()):
            one.names = None  # of several that may belong to one parameter none is preferred
        if one.names is not None:
            one.names = {number: new_names.get(name, "") for number, name in one.names.items()}
        _put(one, _member_name(one, len(kept), trainer), trainer, values)
    return trainer


def _locate(
    data: Buffer, container: Container, root: Node, chosen: list[Node], values: ValueConverter, path: str
) -> Iterator[_Kept]:
    for found in islice(find_optimizers(root, chosen, path), _MOST):
        if isinstance(found, str):
            continue  # its tensors are told like all that stand beside the state dict
        if values.will_drop(found.path):
            if path != "root":
                values.is_dropped(found.path)  # what is beside the object is not converted again
            continue
        payloads: dict[tuple[int | str, str], RecordPayload] = {}
        problem = ""
        for number, slots in found.slots.items():
            for slot, (at, value) in slots.items():
                record = find_tensor(value)
                located = "" if record is None else locate_tensor(data, container, record)
                if isinstance(located, RecordPayload):
                    payloads[number, slot] = located
                elif record is not None:
                    problem = f"{at} is {located}"
                if not is_name(f"{number}/{slot}"):
                    problem = f"{at} has a name that no tensor may have"
        problem = problem or find_excess(payloads.values(), len(data), copies=True) or ""
        if problem:
            values.lose(found.path, "an optimizer's state", f"left out, for {problem}")
            values.leave_out(found.node)
        else:
            yield _Kept(optimizer=found, payloads=payloads, names=None)


def _member_name(one: _Kept, count: int, trainer: Trainer) -> str:
    if count == 1:
        return NAMED if one.names is not None else UNNAMED
    steps = re.sub(r"[^a-z0-9]+", "_", one.optimizer.path.removeprefix("root").lower()).strip("_")
    name = base = steps[-48:].strip("_") or UNNAMED
    number = 1
    while name in trainer.documents or name in (NAMED, UNNAMED):
        number += 1
        name = f"{base}_{number}"
    return name


def _put(one: _Kept, member: str, trainer: Trainer, values: ValueConverter) -> None:
    """Write one optimizer's tensors and document under a name; slots of parameters that were dropped go with them."""
    optimizer, names = one.optimizer, one.names
    called = {
        number: str(number) if names is None else names.get(number, "")
        for group in optimizer.groups
        for number in group
    }
    scalars: dict[str, Json] = {}
    for number, slots in optimizer.slots.items():
        for slot, (at, value) in slots.items():
            if values.will_drop(at):
                values.is_dropped(at)
                one.payloads.pop((number, slot), None)
            elif called[number] and value is not None and (number, slot) not in one.payloads:
                scalars[f"{called[number]}/{slot}"] = values.inner(value, at, 0)
    groups: list[Json] = []
    for numbers, options in zip(optimizer.groups, optimizer.options, strict=True):
        told: dict[str, Json] = {key: _option(value, at, values) for key, at, value in options}
        parameters: list[Json] = [called[number] for number in numbers if called[number]]
        groups.append({"options": told, "parameters": parameters})
    tensors = {
        f"{called[number]}/{slot}": payload for (number, slot), payload in one.payloads.items() if called[number]
    }
    trainer.documents[member] = {"class": None, "groups": groups, "scalars": scalars}
    if tensors:
        trainer.tensors[member] = tensors
    trainer.nodes.append(optimizer.node)
    if names is None:
        named = "under the source's own numbers, since their parameters are not plain"
    elif optimizer.names is not None:
        named = "named as the source names them"
    else:
        named = "named by the order and the shapes of the state dict"
    dropped = sum(not called[number] for number in optimizer.slots)
    left = f"; the slots of {dropped} parameters that are dropped are dropped as well" if dropped else ""
    values.lose(
        optimizer.path, "an optimizer's state", f"trainer/{member}: {len(tensors)} tensors bit by bit, {named}{left}"
    )


def read_slot_digests(archive: Archive, member: str) -> dict[str, str]:
    """Name -> sha256 of every tensor in a member of an archive that was written."""
    slots = archive.check_tensor_member_header(member)
    place = archive.members[member]
    start = place.offset + place.size_bytes - max((slot.stop for slot in slots.values()), default=0)
    digests = {}
    for name, slot in slots.items():
        digest = hashlib.sha256()
        for piece in archive.read_pieces(start + slot.start, slot.stop - slot.start, PIECE_BYTES):
            digest.update(piece)
        digests[name] = digest.hexdigest()
    return digests


def _option(value: Node, path: str, values: ValueConverter) -> Json:
    """An option of a group; a tuple of numbers, such as the betas, is a list in every optimizer that is kept."""
    if type(value) is tuple and all(type(item) in (int, float, bool) for item in value):
        value = list(value)
    return values.inner(value, path, 0)
