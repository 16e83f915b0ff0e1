"""Optimizer states beside the state dict: what there is, and which parameter each slot belongs to.

torch numbers the parameters of an optimizer and names none. A file that names them (`param_names`, text as keys) is
believed. Else the numbers are given to the parameters of the state dict in its order, each to one of its slots' shape,
where that can be done in one way only; what can be done in several ways, or in none, keeps the source's own numbers.
So no slot is ever given to a parameter by a guess, and none is lost.

Source: `torch/optim/optimizer.py` (`state_dict`), `torch/distributed/checkpoint/state_dict.py` (names as keys).
"""

from __future__ import annotations

__all__ = ["SourceOptimizer", "find_optimizers", "is_optimizer", "name_parameters"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpt_format.audit._nodes import Call, DictNode, Node
from mpt_format.audit._structure import key_value_pairs
from mpt_format.audit._tensors import find_tensor
from mpt_format.audit._walk import format_key

_MAX_SEARCHED = 200_000
_MAX_DEPTH = 5
_MOST_WORK = 10_000_000
"""Numbers that are looked at before an optimizer's parameters count as unnamed."""
_NUMBER_SLOTS = frozenset({"step"})
"""Slots that are one number whatever the parameter's shape."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptimizer:
    """What `Optimizer.state_dict()` gave.

    Attributes:
        path: Where it is.
        node: What it is.
        groups: The parameters of each group, as the source numbers or names them.
        options: Everything else of each group, with its path.
        slots: Parameter -> slot -> value, of the parameters that have some.
        names: The names that the source itself gives, in the order of the groups; None where it gives none.
    """

    path: str
    node: Node
    groups: list[list[int | str]]
    options: list[list[tuple[str, str, Node]]]
    slots: dict[int | str, dict[str, tuple[str, Node]]]
    names: list[str] | None

    def find_shapes(self, parameter: int | str) -> set[Shape]:
        """The shapes of a parameter's slots; none where it has no slot that has the parameter's shape."""
        shapes = set()
        for slot, (_, value) in self.slots.get(parameter, {}).items():
            record = find_tensor(value)
            if record is not None and slot not in _NUMBER_SLOTS:
                shapes.add(record.shape)
        return shapes


def is_optimizer(node: Node) -> bool:
    """Whether a node is what `Optimizer.state_dict()` gives."""
    keys = {key for key, _ in key_value_pairs(node) or () if type(key) is str}
    return keys >= {"state", "param_groups"}


def find_optimizers(root: Node, left_out: Sequence[Node], path: str = "root") -> Iterator[SourceOptimizer | str]:
    """Every optimizer's state in an object, in its order; of one that has another form, only its path.

    Args:
        root: The object.
        left_out: Nodes that are not looked into: the state dict.
        path: What the root is called.
    """
    pending: list[tuple[Node, str, int]] = [(root, path, 0)]
    seen = {id(node) for node in left_out}
    while pending and len(seen) < _MAX_SEARCHED:
        node, here, depth = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if is_optimizer(node):
            yield _read(node, here) or here
            continue
        if depth == _MAX_DEPTH:
            continue
        below: list[tuple[Node, str]] = []
        if type(node) in (list, tuple):
            below = [(child, f"{here}[{at}]") for at, child in enumerate(node)]
        else:
            below = [(value, f"{here}[{format_key(key)}]") for key, value in key_value_pairs(node) or ()]
        pending += [
            (child, at, depth + 1) for child, at in reversed(below) if isinstance(child, DictNode | Call | list | tuple)
        ]


def _read(node: Node, path: str) -> SourceOptimizer | None:
    entries = {key: value for key, value in key_value_pairs(node) or () if type(key) is str}
    groups: list[list[int | str]] = []
    options: list[list[tuple[str, str, Node]]] = []
    names: list[str] = []
    if type(entries["param_groups"]) not in (list, tuple):
        return None
    for at, group in enumerate(entries["param_groups"]):
        below = f"{path}['param_groups'][{at}]"
        pairs = key_value_pairs(group)
        if pairs is None or any(type(key) is not str for key, _ in pairs):
            return None
        fields = dict(pairs)
        numbers: Node = fields.get("params")
        named: Node = fields.get("param_names")
        if type(numbers) not in (list, tuple) or any(type(number) not in (int, str) for number in numbers):
            return None
        groups.append(list(numbers))
        if type(named) in (list, tuple) and len(named) == len(numbers) and all(type(name) is str for name in named):
            names += named
        elif all(type(number) is str for number in numbers):
            names += numbers
        taken = ("params", "param_names")
        options.append([(key, f"{below}[{format_key(key)}]", fields[key]) for key in fields if key not in taken])
    every = [number for group in groups for number in group]
    slots = _read_slots(entries["state"], f"{path}['state']", set(every))
    if slots is None or len(set(map(str, every))) != len(every):
        return None
    given = names if len(names) == len(every) == len(set(names)) else None
    return SourceOptimizer(path=path, node=node, groups=groups, options=options, slots=slots, names=given)


def _read_slots(
    state: Node, path: str, parameters: set[int | str]
) -> dict[int | str, dict[str, tuple[str, Node]]] | None:
    slots: dict[int | str, dict[str, tuple[str, Node]]] = {}
    pairs = key_value_pairs(state)
    for key, value in pairs if pairs is not None else [(None, None)]:
        inside = key_value_pairs(value)
        if type(key) not in (int, str) or key not in parameters or key in slots or inside is None:
            return None
        if any(type(slot) is not str for slot, _ in inside):
            return None
        below = f"{path}[{format_key(key)}]"
        slots[key] = {slot: (f"{below}[{format_key(slot)}]", part) for slot, part in inside}
    return slots


def name_parameters(
    optimizer: SourceOptimizer, mine: Sequence[Mapping[str, Shape]], others: Sequence[Mapping[str, Shape]] = ()
) -> dict[int | str, str] | None:
    """Parameter as the source numbers it -> its key in the state dict; None where that is not plain.

    Args:
        optimizer: The state.
        mine: Key -> shape of the parameters that are converted, in the order of the state dict; after all of them, the
            parts that they were put together from.
        others: The same of state dicts that are not converted: where one of them fits as well, it has to have the same
            keys, as an average of the weights has.
    """
    every = [number for group in optimizer.groups for number in group]
    if optimizer.names is not None:
        named = dict(zip(every, optimizer.names, strict=True))
        return named if set(named.values()) <= mine[0].keys() else None
    shapes = [[optimizer.find_shapes(number) for number in group] for group in optimizer.groups]
    fitting = _fit(shapes, mine, len(every))
    if not fitting and (spare := len(mine[0]) - len(every)) > 0:  # some of them are buffers, or were not trained
        order = _assign(shapes, list(mine[0].values()), spare)
        fitting = {} if order is None else {tuple(mine[0]): order}
    if len(fitting) != 1 or not _fit(shapes, others, len(every)).keys() <= fitting.keys():
        return None
    ((keys, order),) = fitting.items()
    return {
        optimizer.groups[place[0]][place[1]]: key for key, place in zip(keys, order, strict=True) if place is not None
    }


def _fit(
    groups: list[list[set[Shape]]], candidates: Sequence[Mapping[str, Shape]], count: int
) -> dict[tuple[str, ...], list[tuple[int, int] | None]]:
    """Of sets of so many parameters those that fit in one way: their keys -> the place of each."""
    return {
        tuple(parameters): order
        for parameters in candidates
        if len(parameters) == count and (order := _assign(groups, list(parameters.values()), 0)) is not None
    }


def _assign(groups: list[list[set[Shape]]], shapes: list[Shape], spare: int) -> list[tuple[int, int] | None] | None:
    """Which place (group, number in it) each parameter has when every group keeps their order; None unless unique."""
    start = (0,) * len(groups)
    ways: list[dict[tuple[int, ...], tuple[int, tuple[int, ...]]]] = [{start: (1, start)}]
    work = 0
    for shape in shapes:
        work += len(ways[-1]) * (len(groups) + 1) ** 2
        if work > _MOST_WORK:
            return None
        reached: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
        for state, (count, _) in ways[-1].items():
            nexts = [state] if len(ways) - 1 - sum(state) < spare else []
            for at, group in enumerate(groups):
                if state[at] < len(group) and (not group[state[at]] or shape in group[state[at]]):
                    nexts.append((*state[:at], state[at] + 1, *state[at + 1 :]))
            for after in nexts:
                reached[after] = (min(2, count + reached.get(after, (0, state))[0]), state)
        if not reached:
            return None
        ways.append(reached)
    state = tuple(map(len, groups))
    if ways[-1].get(state, (0, state))[0] != 1:
        return None
    places: list[tuple[int, int] | None] = []
    for reached in reversed(ways[1:]):
        before = reached[state][1]
        moved = next((at for at in range(len(groups)) if before[at] != state[at]), None)
        places.append(None if moved is None else (moved, before[moved]))
        state = before
    return places[::-1]
