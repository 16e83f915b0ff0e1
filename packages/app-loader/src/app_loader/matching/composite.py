"""Find new tensors that are made of several old ones, or are a part or a turn of one.

Looks only at what the copies left open, inside corresponding modules, deepest first. Joining and splitting need an
order: it is taken
from names that spell it (`q`, `k`, `v` into `qkv`; `gate`, `up` into `gate_up`), never from the order of registration
alone.
A turned matrix needs a changed module type: the same type with swapped widths is a resize, and is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from app_loader.matching._names import leaf_role, numbers, parents, pattern, with_number
from app_loader.matching._spelling import read_order
from app_loader.matching._state import State
from app_loader.matching.context import judge_class
from app_loader.matching.exchange import Features, Verdict
from app_loader.matching.signature import Match, TensorInfo


def match_composites(state: State) -> list[Match]:
    """Record every composite that is certain; return those that a person has to decide."""
    modules = state.module_map()
    old, new = state.features(modules)
    suggested: list[Match] = []
    for path in sorted(modules, key=lambda p: (-p.count(".") - bool(p), p)):
        target = modules[path]
        _reshaped(state, path, target, old, new)
        _stacks(state, path, target, suggested)
        _joined(state, path, target, suggested)
        _parts(state, path, target, suggested)
    _turned(state)
    return suggested


def _open_below(state: State, old_path: str, new_path: str) -> tuple[list[TensorInfo], list[TensorInfo]]:
    open_old, open_new = set(state.open_old()), set(state.open_new())
    return (
        [state.old.by_key[key] for key in state.old.below.get(old_path, ()) if key in open_old],
        [state.new.by_key[key] for key in state.new.below.get(new_path, ()) if key in open_new],
    )


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _reshaped(state: State, path: str, target: str, old: Features, new: Features) -> None:
    """Equal but for axes of size one: a matrix that became a 1x1 convolution, or a squeezed embedding."""
    before, after = _open_below(state, path, target)
    groups: dict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for slot, tensors in enumerate((before, after)):
        for tensor in tensors:
            if len(_squeezed(tensor.shape)) > 0:
                groups[(_squeezed(tensor.shape), tensor.kind)][slot].append(tensor.key)
    for olds, news in groups.values():
        if not olds or not news:
            continue
        for pair, verdict in judge_class(state, olds, news, old, new, path):
            shape = state.old.by_key[pair.old].shape
            if shape == state.new.by_key[pair.new].shape or verdict != Verdict.CERTAIN:
                continue
            said = ("equal but for axes of size one", "no rival of its shape fits the names and neighbours")
            match = Match(new=pair.new, old=pair.old, confidence="auto", op="reshape", evidence=said)
            state.accept_composite(match, [pair.old])


def _turned(state: State) -> None:
    """Matrices whose module changed its type and whose axes are swapped; the rest of the module tells which one it was.

    A square one is turned like the oblong ones that went the same way, when there are two at least and none kept its
    axes.
    """
    turned: dict[tuple[str, str], int] = defaultdict(int)
    kept: set[tuple[str, str]] = set()
    pairs = list(_module_pairs(state))
    for before, after in pairs:
        if after.shape[0] != after.shape[1]:
            if before.shape == after.shape[::-1]:
                turned[before.module_type, after.module_type] += 1
            elif before.shape == after.shape:
                kept.add((before.module_type, after.module_type))
    open_old, open_new = set(state.open_old()), set(state.open_new())
    for before, after in pairs:
        change = (before.module_type, after.module_type)
        needed = 2 if after.shape[0] == after.shape[1] else 1
        if change in kept or turned[change] < needed or before.shape != after.shape[::-1]:
            continue
        if before.key in open_old and after.key in open_new and state.lists_stand(before.key, after.key, ""):
            said = (f"every oblong matrix that went from {change[0]} to {change[1]} has its axes swapped",)
            match = Match(new=after.key, old=before.key, confidence="auto", op="transpose", evidence=said)
            state.accept_composite(match, [before.key])


def _module_pairs(state: State) -> Iterator[tuple[TensorInfo, TensorInfo]]:
    """Matrices of one leaf name in modules of two types that are known to correspond, or that stand at one key."""
    home = {new.rpartition(".")[0]: old.rpartition(".")[0] for new, old in state.source.items()}
    for after in state.new.tensors:
        path, _, leaf = after.key.rpartition(".")
        before = state.old.by_key.get(f"{home[path]}.{leaf}" if home.get(path) else after.key)
        if before is None or len(after.shape) != 2 or len(before.shape) != 2:
            continue
        if before.module_type and after.module_type and before.module_type != after.module_type:
            yield before, after


def _families(tensors: Sequence[TensorInfo]) -> dict[str, list[TensorInfo]]:
    """Equal tensors that differ in one number only and count from zero without a gap, by their key with `#` there."""
    found: dict[str, dict[int, TensorInfo]] = defaultdict(dict)
    for tensor in tensors:
        for position in range(len(numbers(tensor.key))):
            found[with_number(tensor.key, position, "#")][numbers(tensor.key)[position]] = tensor
    return {
        name: [members[i] for i in range(len(members))]
        for name, members in found.items()
        if len(members) > 1
        and set(members) == set(range(len(members)))
        and len({m.shape for m in members.values()}) == 1
    }


def _stacks(state: State, path: str, target: str, suggested: list[Match]) -> None:
    """A list of equal tensors that became one tensor with the list as its first axis."""
    before, after = _open_below(state, path, target)
    wanted = [tensor for tensor in after if len(tensor.shape) >= 2]
    if not wanted or not before:
        return
    families = _families(before)
    for tensor in wanted:
        count, inner = tensor.shape[0], tensor.shape[1:]
        if not all(state.lists_stand(key, tensor.key, path) for key in state.old.below.get(path, ())[:1]):
            continue
        sized = {name: members for name, members in families.items() if len(members) == count}
        single = [name for name, members in sized.items() if members[0].shape == inner]
        rivals = [other for other in wanted if other.shape == tensor.shape]
        if len(single) == 1 and len(rivals) == 1:
            keys = tuple(member.key for member in sized[single[0]])
            said = (f"the {count} tensors {single[0]} have its shape without the first axis, and no other list has",)
            state.accept_composite(
                Match(new=tensor.key, old=keys, confidence="auto", op="stack", dim=0, evidence=said), keys
            )
            families.pop(single[0])
            continue
        for one, other in combinations(sorted(sized, key=lambda n: state.old.rank[sized[n][0].key]), 2):
            parts = sized[one][0], sized[other][0]
            shapes = [part.shape for part in parts]
            fits = all(len(s) == len(inner) for s in shapes) and shapes[0][1:] == shapes[1][1:] == inner[1:]
            if not fits or shapes[0][0] + shapes[1][0] != inner[0] or one.partition("#")[0] != other.partition("#")[0]:
                continue
            order, sure = read_order([part.key for part in parts], tensor.key, _turn_beside(state, parts))
            if order is None or len(rivals) != 1:
                continue
            names = [(one, other)[i] for i in order]
            rows = tuple(tuple(sized[name][i].key for name in names) for i in range(count))
            said = (f"rows are {names[0]} and {names[1]} joined, in the order that the name spells",)
            flat = [key for row in rows for key in row]
            match = Match(
                new=tensor.key,
                old=rows,
                confidence="auto" if sure else "suggest",
                op="stack(cat0)",
                dim=0,
                evidence=said,
            )
            if sure:
                state.accept_composite(match, flat)
            elif all(found.new != tensor.key for found in suggested):
                suggested.append(match)
            break


def _turn_beside(state: State, parts: Sequence[TensorInfo]) -> dict[int, tuple[int, ...]]:
    """Shapes of the numbered siblings of the parts, by number: tells the way in from the way out of a gated layer."""
    found: dict[int, tuple[int, ...]] = {}
    if not numbers(parts[0].key):
        return found
    last = len(numbers(parts[0].key)) - 1
    for key in state.old.by_pattern[pattern(parts[0].key)]:
        if numbers(key)[:last] == numbers(parts[0].key)[:last]:
            found[numbers(key)[last]] = state.old.by_key[key].shape
    return found


def _groups(tensors: Sequence[TensorInfo]) -> Iterator[list[TensorInfo]]:
    """Tensors that play one part in sibling modules, or in one module under several names."""
    found: dict[tuple[str, str], list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        role = leaf_role(tensor.key)
        above = parents(tensor.key)
        if role and len(above) > 1 and tensor.key.rpartition(".")[2] in ("weight", "bias"):
            found[(above[1], role)].append(tensor)
        elif role:
            found[(above[0] + "!", role)].append(tensor)
    yield from (group for group in found.values() if len(group) > 1)


def _join_axis(parts: Sequence[tuple[int, ...]], whole: tuple[int, ...]) -> int | None:
    """The first axis along which the parts add up to the whole."""
    if any(len(part) != len(whole) for part in parts):
        return None
    for axis in range(len(whole)):
        rest = whole[:axis] + whole[axis + 1 :]
        if sum(p[axis] for p in parts) == whole[axis] and all(p[:axis] + p[axis + 1 :] == rest for p in parts):
            return axis
    return None


def _fitting(group: Sequence[TensorInfo], whole: TensorInfo) -> Iterator[tuple[list[TensorInfo], int]]:
    """Subsets of a group that add up to a whole of the same part."""
    if leaf_role(whole.key) != leaf_role(group[0].key) or len(group) > 8:
        return
    for size in range(2, min(len(group), 4) + 1):
        for parts in combinations(group, size):
            axis = _join_axis([part.shape for part in parts], whole.shape)
            if axis is not None and (len(whole.shape) < 2 or axis == 0):
                yield list(parts), axis


def _joined(state: State, path: str, target: str, suggested: list[Match]) -> None:
    """Several old tensors that became one."""
    before, after = _open_below(state, path, target)
    for whole in after:
        readings = []
        for group in _groups([t for t in before if t.key not in state.taken]):
            for parts, axis in _fitting(group, whole):
                order, sure = read_order([p.key for p in parts], whole.key, _turn_beside(state, parts))
                if order is not None:
                    readings.append(([parts[i] for i in order], axis, sure))
        if len(readings) != 1:
            continue
        parts, axis, sure = readings[0]
        if not state.lists_stand(parts[0].key, whole.key, path):
            continue
        keys = tuple(part.key for part in parts)
        said = ("the parts add up to it and its name spells their order",)
        match = Match(
            new=whole.key, old=keys, confidence="auto" if sure else "suggest", op="cat", dim=axis, evidence=said
        )
        if sure:
            state.accept_composite(match, keys)
        elif all(found.new != whole.key for found in suggested):
            suggested.append(match)


def _parts(state: State, path: str, target: str, suggested: list[Match]) -> None:
    """One old tensor that became several."""
    before, after = _open_below(state, path, target)
    for whole in before:
        readings = []
        for group in _groups([t for t in after if t.key not in state.composites]):
            for parts, axis in _fitting(group, whole):
                order, sure = read_order([p.key for p in parts], whole.key, {})
                if order is not None:
                    readings.append(([parts[i] for i in order], axis, sure))
        if len(readings) != 1:
            continue
        parts, axis, sure = readings[0]
        if not state.lists_stand(whole.key, parts[0].key, path):
            continue
        start = 0
        for part in parts:
            said = (f"rows {start} to {start + part.shape[axis]} of it, in the order that its name spells",)
            match = Match(
                new=part.key,
                old=whole.key,
                confidence="auto" if sure else "suggest",
                op="slice",
                dim=axis,
                start=start,
                evidence=said,
            )
            start += part.shape[axis]
            if sure:
                state.accept_composite(match, [whole.key])
            elif all(found.new != part.key for found in suggested):
                suggested.append(match)
