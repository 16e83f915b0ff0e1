"""Accept equal keys - where nothing says that an equal key may mean another tensor.

An equal key is a hint, not a proof. It is refused when the numbered siblings at any position of the key changed
(`layers.1` may be what
was `layers.0`), when its module became another one beside other shapes, when a square matrix changed its module type
(it may have been
transposed), or when same-shaped neighbours were renamed across it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from app_loader.matching._names import numbers, parents, prefix_through, same_type, with_number
from app_loader.matching._side import Side
from app_loader.matching._spelling import Joins, read_order
from app_loader.matching._state import State
from app_loader.matching.signature import TensorInfo

Siblings = tuple[Mapping[tuple[object, ...], set[int]], Mapping[tuple[object, ...], set[int]]]


def match_exact(state: State) -> None:
    """Accept every equal key with equal shape that no guard refuses; the refused are marked as contested."""
    orientation = _orientation(state)
    crossed = _crossed(state)
    siblings = _read_siblings(state.old), _read_siblings(state.new)
    cut_up = _cut_up(state)
    for tensor in state.new.tensors:
        key = tensor.key
        before = state.old.by_key.get(key)
        if before is None or before.shape != tensor.shape:
            continue
        refused, contested, element = None, True, key
        if key in cut_up:
            refused = "parts that add up to it came beside it, so it may be there in name only"
        elif key in crossed:
            state.moved.add(key)
            refused = "same-shaped neighbours were renamed across this key"
        elif (moved := _first_moved(state, key, siblings)) is not None:
            element = prefix_through(key, moved)
            state.moved.add(key)
            refused = "the numbered siblings of this key changed, so an equal key may mean another tensor"
        elif (grown := _first_resized_list(state, key)) is not None:
            element = grown
            refused = "a list of modules around this key changed its length, so an equal key may mean another tensor"
        elif (
            key.split(".")[-2:-1]
            and key.split(".")[-2].isdecimal()
            and state.old.unit_of[key] != state.new.unit_of[key]
        ):
            contested = False
            refused = "the numbered module at this key has other shapes beside it"
        elif state.may_be_folded(key, key):
            refused = "its module has a shift now and normalisations are gone, which may have been folded into it"
        elif before.module_type and tensor.module_type and not same_type(before.module_type, tensor.module_type):
            if state.old.unit_of[key] != state.new.unit_of[key]:
                contested = False
                refused = "another module type with other shapes beside it now stands at this key"
            elif len(tensor.shape) > 1 and not orientation.get(
                (before.module_type, tensor.module_type), not _square(tensor.shape)
            ):
                refused = "the module type changed, and with it perhaps which axis of a matrix is which"
        if refused:
            if contested:
                state.contested[key] = element
            state.evidence[key] = (refused,)
        else:
            state.accept(key, key, "equal key, shape and kind; its numbered siblings are unchanged")


def _cut_up(state: State) -> set[str]:
    """Equal keys beside which parts came whose names spell that they add up to it."""
    came: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in state.new.tensors:
        if tensor.key not in state.old.by_key:
            for path in parents(tensor.key)[:2]:
                came[path].append(tensor)
    found: set[str] = set()
    for path, tensors in came.items():
        kept = [key for key in state.new.owned[path] if key in state.old.by_key]
        if not kept:
            continue
        joins = Joins(tensors)
        for key in kept:
            ways = joins.of(state.new.by_key[key])
            if any(read_order([part.key for part in parts], key, {})[0] is not None for parts in ways):
                found.add(key)
    return found


def _square(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2 and shape[0] == shape[1] and shape[0] > 1


def _orientation(state: State) -> dict[tuple[str, str], bool]:
    """Per change of module type: True when oblong matrices kept their orientation and none was turned.

    A key whose numbered siblings changed tells nothing: `fc2` may be what was `fc1`, turned.
    """
    kept: dict[tuple[str, str], bool] = {}
    names = _read_names(state.old), _read_names(state.new)
    for tensor in state.new.tensors:
        before = state.old.by_key.get(tensor.key)
        if before is None or len(tensor.shape) < 2 or _square(tensor.shape):
            continue
        forms = [(with_number(tensor.key, at, "#"), at) for at in range(len(numbers(tensor.key)))]
        if any(names[0][form] != names[1][form] for form in forms):
            continue
        change = (before.module_type, tensor.module_type)
        if before.shape == tensor.shape:
            kept.setdefault(change, True)
        elif before.shape == (tensor.shape[1], tensor.shape[0], *tensor.shape[2:]):
            kept[change] = False
    return kept


def _read_names(side: Side) -> dict[tuple[str, int], set[int]]:
    """For every key with one number left out: the numbers that stand there, whatever the shapes."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for tensor in side.tensors:
        for position, number in enumerate(numbers(tensor.key)):
            found[with_number(tensor.key, position, "#"), position].add(number)
    return found


def _first_moved(state: State, key: str, known: Siblings) -> int | None:
    """Position of the first number of a key whose siblings changed."""
    for position in range(len(numbers(key))):
        if not _siblings_stand(state, key, position, known):
            return position
    return None


def _first_resized_list(state: State, key: str) -> str | None:
    """The outermost element above a key whose list has another number of elements of its kind."""
    lengths, akin = zip(state.old.list_sizes(key), state.new.list_sizes(key), strict=True)
    if lengths[0] != lengths[1] and akin[0] != akin[1]:
        return next(path for path in reversed(parents(key)) if path.rpartition(".")[2].isdecimal())
    owner = key.rpartition(".")[0]
    if owner.rpartition(".")[2].isdecimal() and state.old.count_alike(key) != state.new.count_alike(key):
        return owner
    return None


def _siblings_stand(state: State, key: str, position: int, known: Siblings) -> bool:
    """Whether the keys like `key` but for one number are the same on both sides, among modules of its shapes."""
    like = with_number(key, position, "#"), position
    before, after = (
        numbers_of.get((*like, side.class_of(key), side.unit_of[key]))
        for side, numbers_of in zip((state.old, state.new), known, strict=True)
    )
    return before == after


def _read_siblings(side: Side) -> dict[tuple[object, ...], set[int]]:
    """For every key with one number left out, and every class and unit: the numbers that stand there."""
    found: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for tensor in side.tensors:
        cell = side.class_of(tensor.key), side.unit_of[tensor.key]
        for position, number in enumerate(numbers(tensor.key)):
            found[with_number(tensor.key, position, "#"), position, *cell].add(number)
    return found


def _crossed(state: State) -> set[str]:
    """Equal keys whose place among same-shaped neighbours moved while a neighbour went and another came."""
    found: set[str] = set()
    groups: dict[tuple[str, object, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for slot, side in enumerate((state.old, state.new)):
        for tensor in side.tensors:
            path, _, leaf = tensor.key.rpartition(".")
            groups[(path.rpartition(".")[0], side.class_of(tensor.key), leaf)][slot].append(tensor.key)
            groups[(path, side.class_of(tensor.key), "")][slot].append(tensor.key)
    for before, after in groups.values():
        gone, come = set(before) - set(after), set(after) - set(before)
        if not gone or not come:
            continue
        if len(before) != len(after):
            continue
        rank = {key: at for at, key in enumerate(after)}
        found.update(key for at, key in enumerate(before) if rank.get(key, at) != at)
    return found
