"""The exchange test: a match is certain only when exchanging it with any rival would contradict what is known.

For two matches (a to x, b to y) of one class, the features that tell a from b must tell x from y in the same sense.
Features are words
of the key, the module's type, the shapes beside the tensor and the corresponding modules it lies in; where keys
differ in numbers only, the
numbers must run the same way and lists must be equally long. Order of registration alone decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from app_loader.matching._features import Features
from app_loader.matching._names import GENERIC, numbers, pattern
from app_loader.matching._state import State


class Verdict(IntEnum):
    """How a pair stands against its rivals."""

    CONTRADICTED = 0
    UNDECIDED = 1
    ORDER_ONLY = 2
    CERTAIN = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A possible match."""

    old: str
    new: str


def judge_exchange(state: State, one: Pair, other: Pair, old: Features, new: Features) -> Verdict:
    """Judge `one` against a rival match `other` of the same class."""
    in_order = (state.old.rank[one.old] < state.old.rank[other.old]) == (
        state.new.rank[one.new] < state.new.rank[other.new]
    )
    if pattern(one.old) == pattern(other.old) and pattern(one.new) == pattern(other.new):
        runs = (numbers(one.old) < numbers(other.old)) == (numbers(one.new) < numbers(other.new))
        if not runs:
            return Verdict.CONTRADICTED
        return Verdict.CERTAIN if _lists_equal(state, one, other) and in_order else Verdict.UNDECIDED
    old_a, old_b = old[one.old] - old[other.old], old[other.old] - old[one.old]
    new_a, new_b = new[one.new] - new[other.new], new[other.new] - new[one.new]
    kept_a, kept_b = old_a & new_a, old_b & new_b
    if (old_a & new_b) or (old_b & new_a):
        return Verdict.CONTRADICTED if not (kept_a or kept_b) else Verdict.UNDECIDED
    if kept_a and kept_b:
        return Verdict.CERTAIN
    if kept_a or kept_b:
        return Verdict.CERTAIN if in_order else Verdict.UNDECIDED
    return Verdict.ORDER_ONLY if in_order else Verdict.UNDECIDED


def judge_spare_old(pair: Pair, spare: str, old: Features, new: Features) -> Verdict:
    """Judge a pair against an old tensor of its class that is left over."""
    return _spare(old[pair.old], old[spare], new[pair.new], pair.old, spare)


def judge_spare_new(pair: Pair, spare: str, old: Features, new: Features) -> Verdict:
    """Judge a pair against a new tensor of its class that is left over."""
    return _spare(new[pair.new], new[spare], old[pair.old], pair.new, spare)


def _spare(mine: frozenset[str], theirs: frozenset[str], partner: frozenset[str], key: str, spare: str) -> Verdict:
    if pattern(key) == pattern(spare):
        return Verdict.UNDECIDED
    for_me, for_spare = (mine - theirs) & partner, (theirs - mine) & partner
    if for_spare - GENERIC:
        return Verdict.UNDECIDED if for_me else Verdict.CONTRADICTED
    return Verdict.CERTAIN if for_me - GENERIC else Verdict.UNDECIDED


def _lists_equal(state: State, one: Pair, other: Pair) -> bool:
    """Whether both sides have equally many tensors of this class and pattern, so that counting along them is sound."""
    count_old = state.old.count_class_by[pattern(one.old), *state.old.class_of(one.old)]
    count_new = state.new.count_class_by[pattern(one.new), *state.new.class_of(one.new)]
    return count_old == count_new
