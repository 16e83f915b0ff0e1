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

from app_loader.matching._families import list_numbers
from app_loader.matching._names import (
    GENERIC,
    folded,
    leaf_role,
    module_names,
    numbers,
    own_name,
    own_words,
    parents,
    pattern,
    plain_leaf,
    same_type,
    subject,
    words,
)
from app_loader.matching._spelling import spelled_out
from app_loader.matching._state import Features, Scope, State, TensorClass, features
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
        verdict = _object(state, pair, path)
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
            verdict = min(verdict, _support(state, pair, path))
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


def _object(state: State, pair: Pair, path: str) -> Verdict:
    """Say what speaks against a pair by itself: one tensor may have gone and another of its shape come."""
    if _contested(state, pair.old, path) or _contested(state, pair.new, state.corresponding(path)):
        return Verdict.UNDECIDED
    if not state.members_correspond(pair.new, pair.old, path):
        return Verdict.UNDECIDED
    if state.may_be_folded(pair.old, pair.new):
        return Verdict.UNDECIDED
    if state.contradicts_learned(pair.old, pair.new) and not _same_leaf(state, pair, path):
        return Verdict.UNDECIDED
    if numbers(pair.old) and numbers(pair.new) and not state.equally_many(pair.old, pair.new):
        inside = state.deepest_element(pair.old)
        if not (path == inside or path.startswith(inside + ".")):
            return Verdict.UNDECIDED  # a list changed its length: which of its elements this is remains open
    if not state.lists_stand(pair.old, pair.new, path):
        return Verdict.UNDECIDED
    roles = leaf_role(pair.old), leaf_role(pair.new)
    if roles[0] and roles[1] and roles[0] != roles[1]:
        return Verdict.CONTRADICTED
    before, after = state.old.by_key[pair.old], state.new.by_key[pair.new]
    if before.module_type and after.module_type and not same_type(before.module_type, after.module_type):
        vectors = len(after.shape) < 2 and plain_leaf(pair.old) and plain_leaf(pair.new)
        if vectors and not (_akin(state, pair) or _beside(state, pair, path) or _of_statistics(state, pair)):
            return Verdict.UNDECIDED  # another kind of module may read its vectors in another way
        if len(after.shape) >= 2 and _may_be_turned(state, after.shape, pair.new):
            return Verdict.UNDECIDED  # its shape does not show whether it was transposed
    if _renumbered(state, pair) or spelled_out(pair.old) != spelled_out(pair.new):
        return Verdict.UNDECIDED  # another one of its kind, or rows that are laid in another way
    return Verdict.CERTAIN


def _support(state: State, pair: Pair, path: str) -> Verdict:
    """Say what speaks for a pair by itself: its own words, its modules' names, or that it is the only one left."""
    before, after = state.old.by_key[pair.old], state.new.by_key[pair.new]
    same_unit = state.old.unit_of[pair.old] == state.new.unit_of[pair.new]
    typed = not (before.module_type and after.module_type) or same_type(before.module_type, after.module_type)
    if not typed:
        statistic = len(after.shape) < 2 and plain_leaf(pair.old) and plain_leaf(pair.new)
        statistic = statistic and _of_statistics(state, pair)
        typed = ((_akin(state, pair) or _beside(state, pair, path)) and same_unit) or statistic
        same_unit = same_unit or statistic
    about, wanted = subject(own_name(pair.old)), subject(own_name(pair.new))
    shared = own_words(pair.old) & own_words(pair.new)
    if shared and (about <= wanted or wanted <= about or (typed and same_unit)):
        return Verdict.CERTAIN
    names = module_names(_below(pair.old, path)), module_names(_below(pair.new, state.corresponding(path)))
    as_deep = len(list_numbers(pair.old)) == len(list_numbers(pair.new))
    named = names[0] & names[1] if as_deep else {name for name in names[0] & names[1] if subject(name)}
    if typed and same_unit and named and (names[0] <= names[1] or names[1] <= names[0]):
        return Verdict.CERTAIN  # a `norm` that went into a list or came out of it may be another one
    if typed and _same_leaf(state, pair, path):
        return Verdict.CERTAIN
    tail_old, tail_new = subject(_below(pair.old, path)), subject(_below(pair.new, state.corresponding(path)))
    bracket = bracketed(state, pair)
    if typed and same_unit and path and bracket and tail_old == tail_new:
        return Verdict.CERTAIN
    if len(state.old_families[pair.old].keys) > 1 and state.is_sole(pair.new, pair.old, path):
        closed = state.is_closed(pair.new, pair.old, path)
        if typed and same_unit and (bracket + closed) >= (1 if path else 2):
            return Verdict.CERTAIN
        if len(after.shape) >= 2 and closed and path:
            return Verdict.CERTAIN  # its shape cannot be turned and nothing else came or went in any of the modules
    if typed and path == state.deepest_element(pair.old) and state.learned(pair.old, pair.new):
        return Verdict.CERTAIN
    ahead = (bracket or (same_unit and not _crosses(state, pair))) and typed and state.is_sole(pair.new, pair.old, path)
    return Verdict.ORDER_ONLY if shared or ahead else Verdict.UNDECIDED


def _same_leaf(state: State, pair: Pair, path: str) -> bool:
    """Whether both have one name in two modules that are known to correspond."""
    old_owner, _, old_leaf = pair.old.rpartition(".")
    new_owner, _, new_leaf = pair.new.rpartition(".")
    return bool(path) and path == old_owner and state.corresponding(path) == new_owner and old_leaf == new_leaf


def _akin(state: State, pair: Pair) -> bool:
    """Whether the names of both modules' types share a word."""
    before, after = state.old.by_key[pair.old], state.new.by_key[pair.new]
    return bool(words(before.module_type) & words(after.module_type))


def _beside(state: State, pair: Pair, path: str) -> bool:
    """Whether both modules are known to correspond: the matrix beside the tensor is matched already."""
    return bool(path) and path == pair.old.rpartition(".")[0] and state.old.has_matrix(pair.old)


def _of_statistics(state: State, pair: Pair) -> bool:
    """Whether both modules keep running statistics and this is one of them or the shift after it.

    A statistic is what it is in any module that has one; a scale may be read as `abs(x)` or `1 + x`.
    """
    leaf = pair.new.rpartition(".")[2]
    kept = all(
        ".running_mean" in side.unit_keys_of(key) for side, key in ((state.old, pair.old), (state.new, pair.new))
    )
    return kept and leaf != "weight" and leaf == pair.old.rpartition(".")[2]


def _below(key: str, path: str) -> str:
    return key[len(path) + 1 :] if path else key


def _renumbered(state: State, pair: Pair) -> bool:
    """Whether the last named modules differ in a number only: `fc1` and `fc2` are two things."""
    modules = [key.split(".")[-2:-1] for key in (pair.old, pair.new)]
    named = [own_name(key).split(".")[:1] for key in (pair.old, pair.new)]
    if "." not in own_name(pair.old) and state.old.count_alike(pair.old) > 1 < state.new.count_alike(pair.new):
        named = []  # a numbered leaf name among others: its rivals decide
    return any(
        bool(one and other) and _differ_in_number(one[0], other[0])
        for one, other in ((modules, named) if named else (modules,))
    )


def _differ_in_number(one: str, other: str) -> bool:
    """Whether two names are one but for a number; `norm` that became `norm1` is the first of several now."""
    if one == other or one.isdecimal():
        return False
    if pattern(one) == pattern(other):
        return True
    if numbers(one) and numbers(other) and numbers(one) != numbers(other):
        return folded(one) == folded(other) != frozenset()  # `ln_1` and `layer_norm2`
    pieces = pattern(one).replace("#", ""), pattern(other).replace("#", "")
    counted = numbers(one) + numbers(other)
    return pieces[0] == pieces[1] != "" and len(counted) == 1 and counted[0] > 1


def _contested(state: State, key: str, path: str) -> bool:
    """Whether another tensor may have come to stand at this key; not so inside an element known to correspond."""
    element = state.contested.get(key)
    return element is not None and path != element and not path.startswith(element + ".")


def _may_be_turned(state: State, shape: tuple[int, ...], key: str) -> bool:
    turned = (shape[1], shape[0], *shape[2:])
    before = state.old.by_key.get(key)
    if shape[0] == shape[1] == 1:
        return False
    return turned == shape or turned in state.old.shapes or (before is not None and before.shape == turned)


def bracketed(state: State, pair: Pair) -> bool:
    """Whether the nearest matched tensors before and after, in order of registration, agree on both sides."""
    beside = _beside_in_order(state, pair)
    return bool(beside) and all(beside)


def _crosses(state: State, pair: Pair) -> bool:
    """Whether a nearest matched tensor stands on the other side of the pair in the new code."""
    return not all(_beside_in_order(state, pair))


def _beside_in_order(state: State, pair: Pair) -> list[bool]:
    agreed = []
    for step in (-1, 1):
        at = state.old.rank[pair.old] + step
        while 0 <= at < len(state.old.tensors) and state.old.tensors[at].key not in state.taken:
            at += step
        if 0 <= at < len(state.old.tensors):
            target = state.taken[state.old.tensors[at].key]
            agreed.append((state.new.rank[target] - state.new.rank[pair.new]) * step > 0)
    return agreed
