"""What speaks against a pair of tensors, and for it, by itself: its names, its modules, what was matched around it.

Rivals are not looked at here: `exchange` does that. Refuses to take order of registration for more than support.
"""

from __future__ import annotations

from app_loader.matching._families import list_numbers
from app_loader.matching._names import (
    folded,
    leaf_role,
    module_names,
    numbers,
    own_name,
    own_words,
    pattern,
    plain_leaf,
    same_type,
    subject,
    words,
)
from app_loader.matching._spelling import spelled_out
from app_loader.matching._state import State
from app_loader.matching.exchange import Pair, Verdict


def object_to(state: State, pair: Pair, path: str) -> Verdict:
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


def support_for(state: State, pair: Pair, path: str) -> Verdict:
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
