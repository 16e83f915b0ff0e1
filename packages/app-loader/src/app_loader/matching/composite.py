"""Find new tensors that are made of several old ones, or are a part or a turn of one.

Looks only at what the copies left open, inside corresponding modules, deepest first. Joining and splitting need an
order: it is taken
from names that spell it (`q`, `k`, `v` into `qkv`; `gate`, `up` into `gate_up`), never from the order of registration
alone.
A turned matrix needs a changed module type: the same type with swapped widths is a resize, and is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from app_loader.matching._families import Family, Places, as_ranks
from app_loader.matching._features import Features, features
from app_loader.matching._names import content_words, leaf_role, parents
from app_loader.matching._spelling import Joins, read_order
from app_loader.matching._state import Scope, State
from app_loader.matching.context import judge_class
from app_loader.matching.exchange import Verdict
from app_loader.matching.signature import Match, Source, TensorInfo


def match_composites(state: State) -> list[Match]:
    """Record every composite that is certain; return those that a person has to decide."""
    suggested: dict[str, Match] = {}
    for scope in (Scope.ONE_SHAPE, Scope.TENSOR):
        state.group(scope)
        modules = state.module_map()
        old, new = features(state, modules)
        for path, before, after in _open_below(state, modules):
            _reshaped(state, path, before, after, old, new)
            _stacks(state, path, before, after, suggested)
            _joined(state, path, before, after, suggested)
            _parts(state, path, before, after, suggested)
    _turned(state)
    return list(suggested.values())


Tensors = Sequence[TensorInfo]


def _open_below(state: State, modules: Mapping[str, str]) -> Iterator[tuple[str, Tensors, Tensors]]:
    """Open families below corresponding modules, deepest first; an earlier one may take some of a later one's."""
    sides: list[dict[str, list[TensorInfo]]] = []
    for families, by_key in (
        (state.old_families, state.old.by_key),
        (state.new_families, state.new.by_key),
    ):
        below: dict[str, list[TensorInfo]] = defaultdict(list)
        for key in sorted(families, key=lambda k: by_key[k].order):
            for path in parents(key):
                below[path].append(by_key[key])
        sides.append(below)
    for path in sorted(modules, key=lambda p: (-p.count(".") - bool(p), p)):
        before, after = sides[0].get(path, []), sides[1].get(modules[path], [])
        if before and after:
            yield path, before, after


def _still(state: State, before: Tensors, after: Tensors) -> tuple[list[TensorInfo], list[TensorInfo]]:
    return [t for t in before if t.key not in state.taken], [t for t in after if state.is_open(t.key)]


def _flat(source: Source | None) -> tuple[str, ...]:
    if source is None:
        return ()
    return (source,) if isinstance(source, str) else tuple(key for part in source for key in _flat(part))


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _reshaped(state: State, path: str, before: Tensors, after: Tensors, old: Features, new: Features) -> None:
    """Equal but for axes of size one: a matrix that became a 1x1 convolution, or a squeezed embedding."""
    groups: dict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for slot, tensors in enumerate(_still(state, before, after)):
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
            for key, source in state.members(pair.new, pair.old):
                match = Match(new=key, old=source, confidence="auto", op="reshape", evidence=said)
                state.accept_composite(match, [source])


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
        moved = before.key == after.key and after.key in state.moved
        if moved or before.key not in open_old or after.key not in open_new:
            continue
        if state.lists_stand(before.key, after.key, ""):
            said = (f"every oblong matrix that went from {change[0]} to {change[1]} has its axes swapped",)
            match = Match(new=after.key, old=before.key, confidence="auto", op="transpose", evidence=said)
            state.accept_composite(match, [before.key])


def _module_pairs(state: State) -> Iterator[tuple[TensorInfo, TensorInfo]]:
    """Matrices of one leaf name in modules of two types that are known to correspond, or that stand at one key.

    A bare parameter that became a layer of its name, or the other way round, is such a pair too.
    """
    home = {new.rpartition(".")[0]: old.rpartition(".")[0] for new, old in state.source.items()}
    for after in state.new.tensors:
        path, _, leaf = after.key.rpartition(".")
        before = state.old.by_key.get(f"{home[path]}.{leaf}" if home.get(path) else after.key)
        if before is None:
            before = state.old.by_key.get(path if leaf == "weight" else f"{after.key}.weight")
        if before is None or len(after.shape) != 2 or len(before.shape) != 2:
            continue
        if before.module_type and after.module_type and before.module_type != after.module_type:
            yield before, after


Rows = tuple[tuple[str, ...], ...]


def _rows(family: Family, count: int, places: Places) -> Rows | None:
    """The members as rows of `count` along one numbered level, which counts from zero, rows having the given places."""
    found: list[Rows] = []
    for level in range(len(family.numbers[0])):
        rows: dict[tuple[int, ...], list[tuple[int, str]]] = defaultdict(list)
        for key, numbers_ in zip(family.keys, family.numbers, strict=True):
            rows[numbers_[:level] + numbers_[level + 1 :]].append((numbers_[level], key))
        if all([n for n, _ in sorted(row)] == list(range(count)) for row in rows.values()):
            ordered = sorted(rows)
            if as_ranks(ordered) == places:
                found.append(tuple(tuple(key for _, key in sorted(rows[row])) for row in ordered))
    return found[0] if len(found) == 1 else None


def _stacks(state: State, path: str, before: Tensors, after: Tensors, suggested: dict[str, Match]) -> None:
    """A list of equal tensors that became one tensor with the list as its first axis."""
    before, after = _still(state, before, after)
    for tensor in after:
        count, inner = tensor.shape[0] if tensor.shape else 0, tensor.shape[1:]
        if count < 2 or len(tensor.shape) < 2:
            continue
        places = state.new_families[tensor.key].places
        rivals = [other for other in after if other.shape == tensor.shape]
        if len(rivals) != 1:
            continue
        sized = []
        for part in before:
            rows = None if part.key in state.taken else _rows(state.old_families[part.key], count, places)
            roles = leaf_role(part.key), leaf_role(tensor.key)
            if all(roles) and roles[0] != roles[1]:
                continue  # biases do not make a matrix, whatever their number
            if rows is not None and state.lists_stand(part.key, tensor.key, path):
                sized.append((part, rows))
        single = [rows for part, rows in sized if part.shape == inner]
        if len(single) == 1:
            said: tuple[str, ...] = (
                f"the {count} tensors like {single[0][0][0]} have its shape without the first axis; no other list",
            )
            sure = bool(content_words(single[0][0][0]) & content_words(tensor.key))
            _say(state, path, tensor.key, single[0], "stack", sure, said, suggested)
            continue
        for (one, left), (other, right) in combinations(sized, 2):
            parts = one, other
            shapes = [part.shape for part in parts]
            fits = all(len(s) == len(inner) for s in shapes) and shapes[0][1:] == shapes[1][1:] == inner[1:]
            if not fits or shapes[0][0] + shapes[1][0] != inner[0]:
                continue
            order, sure = read_order([part.key for part in parts], tensor.key, state.old.shapes_beside(parts[0].key))
            if order is None:
                continue
            said = ("rows are two lists joined", _order_said(sure))
            sources = tuple(
                tuple(tuple(pair[i] for i in order) for pair in zip(row, twin, strict=True))
                for row, twin in zip(left, right, strict=True)
            )
            _say(state, path, tensor.key, sources, "stack(cat0)", sure, said, suggested)
            break


def _say(
    state: State,
    path: str,
    new: str,
    sources: Sequence[Source],
    op: str,
    sure: bool,
    said: tuple[str, ...],
    suggested: dict[str, Match],
) -> bool:
    """Claim one source for each member of a new family, with certainty only where the members' modules correspond."""
    keys = state.new_families[new].keys
    sure = sure and all(
        state.corresponds(part, key, path) for key, source in zip(keys, sources, strict=True) for part in _flat(source)
    )
    for key, source in zip(keys, sources, strict=True):
        match = Match(new=key, old=source, confidence="auto" if sure else "suggest", op=op, dim=0, evidence=said)
        if sure:
            state.accept_composite(match, _flat(source))
        else:
            suggested.setdefault(key, match)
    return sure


def _order_said(sure: bool) -> str:
    return "its name tells their order" if sure else "in the usual order of such parts, which no name tells"


def _joined(state: State, path: str, before: Tensors, after: Tensors, suggested: dict[str, Match]) -> None:
    """Several old tensors that became one."""
    before, after = _still(state, before, after)
    joins = Joins(before, lambda key: state.old_families[key].places)
    for whole in after:
        readings = []
        for way in joins.of(whole, state.new_families[whole.key].places):
            order, sure = read_order([p.key for p in way], whole.key, state.old.shapes_beside(way[0].key))
            if order is not None and not any(part.key in state.taken for part in way):
                readings.append(([way[i] for i in order], sure))
        if len(readings) != 1:
            continue
        parts, sure = readings[0]
        if not state.lists_stand(parts[0].key, whole.key, path):
            continue
        sources = list(zip(*(state.old_families[part.key].keys for part in parts), strict=True))
        said = ("the parts add up to it", _order_said(sure))
        _say(state, path, whole.key, sources, "cat", sure, said, suggested)


def _parts(state: State, path: str, before: Tensors, after: Tensors, suggested: dict[str, Match]) -> None:
    """One old tensor that became several."""
    before, after = _still(state, before, after)
    joins = Joins(after, lambda key: state.new_families[key].places)
    for whole in before:
        readings = []
        for way in joins.of(whole, state.old_families[whole.key].places):
            order, sure = read_order([p.key for p in way], whole.key, {})
            if order is not None and all(state.is_open(part.key) for part in way):
                readings.append(([way[i] for i in order], sure))
        if len(readings) != 1:
            continue
        parts, sure = readings[0]
        if not state.lists_stand(whole.key, parts[0].key, path):
            continue
        sure = sure and all(
            state.corresponds(source, key, path)
            for part in parts
            for key, source in zip(state.new_families[part.key].keys, state.old_families[whole.key].keys, strict=True)
        )
        start = 0
        for part in parts:
            said = (f"rows {start} to {start + part.shape[0]} of it", _order_said(sure))
            for key, source in state.members(part.key, whole.key):
                match = Match(
                    new=key,
                    old=source,
                    confidence="auto" if sure else "suggest",
                    op="slice",
                    dim=0,
                    start=start,
                    evidence=said,
                )
                if sure:
                    state.accept_composite(match, [source])
                else:
                    suggested.setdefault(key, match)
            start += part.shape[0]
