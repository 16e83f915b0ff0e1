"""Match the rest from the deepest corresponding modules outwards, one class of tensors at a time.

Inside a pair of corresponding modules the open tensors of one class (equal shape and kind) are paired by what they
share, and a pair
is accepted when the exchange test holds against every rival. Each accepted pair makes more modules correspond, so
this runs until
nothing changes. Refuses to accept what only the order of registration supports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from app_loader.matching._features import Features, features
from app_loader.matching._names import GENERIC, numbers, parents, same_type
from app_loader.matching._pairs import bracketed as bracketed  # released under this name: kept
from app_loader.matching._pairs import object_to, support_for
from app_loader.matching._side import TensorClass
from app_loader.matching._state import Scope, State
from app_loader.matching.exchange import Pair, Verdict, judge_exchange, judge_spare_new, judge_spare_old

LARGEST_CLASS = 4096
"""Largest product of open members of a class that are compared; beyond it nothing is claimed of the class here."""

OpenClass = tuple[list[str], list[str]]


def match_in_context(state: State) -> None:
    """Accept every pair that is certain, families first, until no more are found."""
    for scope in Scope:
        state.group(scope)
        while _sweep(state):
            pass


def _sweep(state: State) -> bool:
    modules = state.module_map()
    state.count_residue()
    old, new = features(state, modules)
    changed = False
    for path, classes in classes_by_module(state, modules):
        for before, after in classes:
            still = [key for key in before if key not in state.taken], [key for key in after if state.is_open(key)]
            for pair, verdict in judge_class(state, *still, old, new, path):
                if verdict == Verdict.CERTAIN:
                    said = explain(pair, old, new)
                    for key, source in state.members(pair.new, pair.old):
                        state.accept(key, source, *said)
                    changed = True
    return changed


def open_classes(state: State, old_path: str, new_path: str) -> list[OpenClass]:
    """Open families below two corresponding modules, by class."""
    return [pair for _, classes in classes_by_module(state, {old_path: new_path}) for pair in classes]


def classes_by_module(state: State, modules: Mapping[str, str]) -> list[tuple[str, list[OpenClass]]]:
    """Open families below corresponding modules by class, deepest modules first; only what is open on both sides."""
    below: dict[str, dict[TensorClass, OpenClass]] = defaultdict(lambda: defaultdict(lambda: ([], [])))
    homes: dict[str, list[str]] = defaultdict(list)
    for path, target in modules.items():
        homes[target].append(path)
    for key in state.old_families:
        for path in parents(key) or ("",):
            if path in modules:
                below[path][state.old.class_of(key)][0].append(key)
    for key in state.new_families:
        for path in parents(key) or ("",):
            for home in homes.get(path, ()):
                below[home][state.new.class_of(key)][1].append(key)
    found = []
    for path in sorted(below, key=lambda p: (-p.count(".") - bool(p), p)):
        classes = [pair for pair in below[path].values() if pair[0] and pair[1]]
        if classes:
            found.append((path, classes))
    return found


def judge_class(
    state: State, before: Sequence[str], after: Sequence[str], old: Features, new: Features, path: str
) -> list[tuple[Pair, Verdict]]:
    """Pair the open members of one class, each with the weakest verdict over the pair itself and all its rivals."""
    if len(before) * len(after) > LARGEST_CLASS:
        return []
    pairs = _propose(state, before, after, old, new)
    paired = {pair.old for pair in pairs} | {"new " + pair.new for pair in pairs}
    spare_old = [key for key in before if key not in paired]
    spare_new = [key for key in after if "new " + key not in paired]
    whole = len(pairs) > 1 and not spare_old and not spare_new
    judged: list[tuple[Pair, Verdict]] = []
    for pair in pairs:
        verdict = object_to(state, pair, path)
        if verdict != Verdict.CERTAIN:
            judged.append((pair, verdict))
            continue
        for rival in pairs:
            if verdict == Verdict.CONTRADICTED:
                break
            if rival != pair:
                verdict = min(verdict, judge_exchange(state, pair, rival, old, new))
        for spare in spare_old:
            verdict = min(verdict, judge_spare_old(pair, spare, old, new))
        for spare in spare_new:
            verdict = min(verdict, judge_spare_new(pair, spare, old, new))
        if not (whole and verdict >= Verdict.ORDER_ONLY and _repeats(state, pair, path)):
            verdict = min(verdict, support_for(state, pair, path))
        judged.append((pair, verdict))
    return judged


def _repeats(state: State, pair: Pair, path: str) -> bool:
    """Whether, in every module that stands for `path`, nothing came or went, and each part of a number kept it."""
    named = [numbers(".".join(key.split(".")[-2:])) for key in (pair.old, pair.new)]
    if not path or len(state.old_families[pair.old].keys) == 1 or (all(named) and named[0] != named[1]):
        return False
    before, after = state.old.by_key[pair.old], state.new.by_key[pair.new]
    alike = same_type(before.module_type, after.module_type) and bool(before.module_type)
    same_unit = state.old.unit_of[pair.old] == state.new.unit_of[pair.new]
    return alike and same_unit and state.is_closed(pair.new, pair.old, path)


def explain(pair: Pair, old: Features, new: Features) -> tuple[str, ...]:
    """Say what an accepted pair shares."""
    shared = sorted(word for word in old[pair.old] & new[pair.new] if not word.startswith(("unit=", "type:", "~")))
    inside = [word[3:] or "the root" for word in shared if word.startswith("in=")]
    plain = [word for word in shared if not word.startswith(("in=", "type=")) and word not in GENERIC]
    said = [f"shares {', '.join(plain)}"] if plain else []
    if inside:
        said.append(f"both lie in {max(inside, key=len)}")
    said.append("exchanging it with any tensor of its shape would contradict names, types, neighbours or numbers")
    return tuple(said)


def _propose(state: State, before: Sequence[str], after: Sequence[str], old: Features, new: Features) -> list[Pair]:
    """Pair families of equal places greedily: most shared features first, then nearest in order."""
    scale_old, scale_new = max(len(before) - 1, 1), max(len(after) - 1, 1)
    scored = []
    for i, one in enumerate(before):
        features = old[one]
        for j, other in enumerate(after):
            if not state.same_places(one, other):
                continue
            likeness = 2 * len(features & new[other]) - len(features ^ new[other])
            scored.append((likeness, -abs(i / scale_old - j / scale_new), -i, -j))
    scored.sort(reverse=True)
    pairs: list[Pair] = []
    used_old: set[int] = set()
    used_new: set[int] = set()
    for _, _, i, j in scored:
        if i not in used_old and j not in used_new:
            used_old.add(i)
            used_new.add(j)
            pairs.append(Pair(before[-i], after[-j]))
            if len(pairs) == min(len(before), len(after)):
                break
    return pairs
