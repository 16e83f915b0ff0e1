"""Settle what the signatures leave open by trying: both codes and the witness are at hand, and nobody else has both.

Open modules of equal shapes form a group. First one assignment of all groups is looked for that meets the witness,
those that keep the order first. Then, group by group, every exchange of two in it is tried and every one left out: a
group of which another arrangement does as well stays open. The work is bounded in bytes of weights that are passed
over and on the clock (`tries`), so that trying ends whatever the size of the policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, permutations, product
from typing import Any, Literal

import torch
from policy_interface import GameRules, Policy, PolicyArchitecture
from torch import Tensor

from app_loader.build import build_on_meta
from app_loader.errors import RestoreError
from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.tries import LIMIT, OutOfTriesError, Tries
from app_loader.restore import restore
from app_loader.witness import Witness, replay_witness

LIMIT_BYTES = 64 << 30
"""How many bytes of weights all replays together may pass over."""

MADE_BYTES = 256 << 20
"""Up to this many bytes of weights a policy is made as a whole, to see what its open tensors begin as."""

Init = Literal["zeros", "ones"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the trial found.

    Attributes:
        sources: new key to old key.
        fresh: new key that nothing of the archive gives, to a beginning with which the witness is met.
        tried: how many assignments were run.
        met: how many of them met the witness.
        matches: new key to where it comes from, also joined, cut or turned; empty where only `sources` were looked for.
    """

    sources: Mapping[str, str]
    fresh: Mapping[str, Init]
    tried: int
    met: int
    matches: Mapping[str, Match] = field(default_factory=dict)


def settle(
    architecture: PolicyArchitecture,
    rules: GameRules,
    witness: Witness,
    certain: Mapping[str, Tensor],
    old_tensors: Mapping[str, Tensor],
    open_new: Sequence[TensorInfo],
    open_old: Sequence[TensorInfo],
    *,
    tries: Tries | None = None,
) -> Settled | None:
    """Try assignments of open old tensors to open new ones.

    Args:
        architecture: of the new code.
        rules: to build for.
        witness: what the old code recorded.
        certain: new key to tensor, of every match that is settled already.
        old_tensors: the archive's tensors.
        open_new: new tensors without a source.
        open_old: old tensors without a use.
        tries: how much it may cost; None is what a policy of this size may.

    Returns:
        What only one arrangement of which meets the witness; None when none does, or when the policy is too large to be
        tried.
    """
    tries = tries or Tries(tries_for(old_tensors, witness))
    if not tries.left:
        return None
    policy = _build(architecture, rules, certain, open_new)
    if policy is None:
        return None
    settled = _Trial(policy, witness, old_tensors, open_new, tries).settle(list(_groups(open_new, open_old)))
    if settled is None:
        return None
    left = [info for info in open_old if info.key not in settled.sources.values()]
    return replace(settled, fresh=without_rivals(settled.fresh, open_new, left))


def without_rivals(
    fresh: Mapping[str, Init], open_new: Sequence[TensorInfo], left: Sequence[TensorInfo]
) -> dict[str, Init]:
    """Leave out what an old tensor that nothing takes could give: in this archive it may hold just such a beginning.

    Args:
        fresh: new key to the beginning with which the witness is met.
        open_new: new tensors.
        left: old tensors that nothing takes.
    """
    rivals = {(info.shape, info.kind) for info in left}
    told = {info.key: (info.shape, info.kind) for info in open_new}
    return {key: init for key, init in fresh.items() if told[key] not in rivals}


def tries_for(tensors: Mapping[str, Tensor], witness: Witness) -> int:
    """Return how often a policy of these tensors may be replayed; 0 when it is too large for once."""
    weights = sum(tensor.nbytes for tensor in tensors.values())
    return min(LIMIT, LIMIT_BYTES // max(1, weights * witness.spec.steps))


def meets(
    architecture: PolicyArchitecture, rules: GameRules, witness: Witness, tensors: Mapping[str, Tensor]
) -> bool | None:
    """Tell whether the new code does with these tensors what was recorded; None when it cannot be tried.

    The tensors are put in as they are, so a mapped archive stays mapped.
    """
    if not tries_for(tensors, witness):
        return None
    policy = _build(architecture, rules, tensors, ())
    if policy is None:
        return None
    try:
        return replay_witness(policy, witness).met
    except (RuntimeError, ValueError):
        return False


def _build(
    architecture: PolicyArchitecture, rules: GameRules, certain: Mapping[str, Tensor], open_new: Sequence[TensorInfo]
) -> Policy | None:
    """Return a policy with the certain tensors as they are - mapped ones stay mapped - and its own open ones.

    None where that does not make a policy that runs.
    """
    policy = build_on_meta(architecture, rules, subject=architecture.kind)
    if policy.module is None:
        return None
    state: dict[str, Any] = policy.module.state_dict()
    if open_new:
        state.update(_beginnings(architecture, rules, certain, open_new))
    try:
        restore(policy.module, {**state, **certain}, subject=architecture.kind)
    except RestoreError:
        return None
    return policy


def _beginnings(
    architecture: PolicyArchitecture, rules: GameRules, certain: Mapping[str, Tensor], open_new: Sequence[TensorInfo]
) -> dict[str, Tensor]:
    """Return what the open tensors begin as: as the code makes them, or zeros where making them all takes minutes."""
    if sum(tensor.nbytes for tensor in certain.values()) > MADE_BYTES:
        return {t.key: torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in open_new}
    torch.manual_seed(0)
    module = architecture.make_policy(rules).module
    made: Mapping[str, Tensor] = {} if module is None else module.state_dict()
    return {t.key: made[t.key].detach().clone() for t in open_new}


class _Trial:
    """A policy of the new code whose open tensors are set this way and that."""

    def __init__(
        self,
        policy: Policy,
        witness: Witness,
        old_tensors: Mapping[str, Tensor],
        open_new: Sequence[TensorInfo],
        tries: Tries,
    ) -> None:
        assert policy.module is not None
        self._policy, self._witness, self._old, self._tries = policy, witness, old_tensors, tries
        state = policy.module.state_dict(keep_vars=True)
        self._live = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        self._begin = {t.key: self._live[t.key].detach().clone() for t in open_new}

    def settle(self, groups: list[Group]) -> Settled | None:
        """Find an assignment that meets the witness and keep of it what no other arrangement does as well."""
        try:
            base = self._find(groups)
            if base is None:
                return None
            sure = [paired for group, paired in zip(groups, base, strict=True) if self._is_alone(group, paired, base)]
            sources = {new: old for paired in sure for new, old in _keys(paired).items()}
            taken = {new for paired in base for new in _keys(paired)}
            fresh = self._fresh(_joined(base), [key for key in self._begin if key not in taken])
        except OutOfTriesError:
            return None
        return Settled(sources=sources, fresh=fresh, tried=self._tries.made, met=self._tries.met)

    def _find(self, groups: list[Group]) -> tuple[Paired, ...] | None:
        return next((chosen for chosen in _assignments(groups) if self._meets(_joined(chosen))), None)

    def _is_alone(self, group: Group, paired: Paired, base: Sequence[Paired]) -> bool:
        others = [other for other in base if other is not paired]
        return not any(self._meets(_joined([*others, rival])) for rival in _rivals(group, paired))

    def _fresh(self, sources: Mapping[str, str], keys: Sequence[str]) -> dict[str, Init]:
        """Return a beginning that can be written down and meets the witness, for each key that nothing gives."""
        if not keys:
            return {}
        wanted: dict[str, Init] = {key: "ones" if bool((self._begin[key] == 1).all()) else "zeros" for key in keys}
        written = {key: torch.full_like(self._begin[key], wanted[key] == "ones") for key in keys}
        return wanted if self._meets(sources, written) else {}

    def _meets(self, sources: Mapping[str, str], values: Mapping[str, Tensor] | None = None) -> bool:
        self._tries.take()
        self._fill({**self._begin, **(values or {}), **{new: self._old[old] for new, old in sources.items()}})
        try:
            met = replay_witness(self._policy, self._witness).met
        except (RuntimeError, ValueError):
            met = False
        self._tries.met += met
        return met

    def _fill(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for key, value in values.items():
                self._live[key].copy_(value)


Unit = tuple[tuple[str, str], ...]
"""A module's tensors: (leaf name, key)."""

Group = tuple[list[Unit], list[Unit]]
"""New units and old ones of the same shapes."""

Paired = tuple[tuple[Unit, Unit], ...]
"""New units, each with the old one that it gets."""


def _groups(new: Sequence[TensorInfo], old: Sequence[TensorInfo]) -> Iterator[Group]:
    sides: list[dict[Any, list[Unit]]] = []
    for tensors in (new, old):
        units: dict[str, list[TensorInfo]] = defaultdict(list)
        for tensor in tensors:
            units[tensor.key.rpartition(".")[0]].append(tensor)
        by_shape: dict[Any, list[Unit]] = defaultdict(list)
        for members in units.values():
            shape = tuple((t.key.rpartition(".")[2], t.shape, t.kind) for t in members)
            by_shape[shape].append(tuple((t.key.rpartition(".")[2], t.key) for t in members))
        sides.append(by_shape)
    for shape, units_new in sides[0].items():
        if shape in sides[1]:
            yield units_new, sides[1][shape]


def _assignments(groups: Sequence[Group]) -> Iterator[tuple[Paired, ...]]:
    """Every way to give old modules to new ones, each once: first no group out of order, then any."""
    ordered = [list(islice(_ordered(*group), LIMIT)) for group in groups]
    disordered = [list(islice(_disordered(*group), LIMIT)) for group in groups]
    for out_of_order in product((False, True), repeat=len(groups)):
        yield from product(*(disordered[i] if out else ordered[i] for i, out in enumerate(out_of_order)))


def _ordered(new: list[Unit], old: list[Unit]) -> Iterator[Paired]:
    count = min(len(new), len(old))
    for some_new in combinations(new, count):
        for some_old in combinations(old, count):
            yield tuple(zip(some_new, some_old, strict=True))


def _disordered(new: list[Unit], old: list[Unit]) -> Iterator[Paired]:
    count = min(len(new), len(old))
    for some_new in combinations(new, count):
        for some_old in permutations(old, count):
            if list(some_old) != sorted(some_old, key=old.index):
                yield tuple(zip(some_new, some_old, strict=True))


def _rivals(group: Group, paired: Paired) -> Iterator[Paired]:
    """Every arrangement one step away: two exchanged, one given to a free place or from a free one, one left out."""
    spare = [[unit for unit in side if unit not in {pair[i] for pair in paired}] for i, side in enumerate(group)]
    for i, (new, old) in enumerate(paired):
        rest = paired[:i] + paired[i + 1 :]
        yield rest
        for other in spare[0]:
            yield (*rest, (other, old))
        for other in spare[1]:
            yield (*rest, (new, other))
        for j, (second, source) in enumerate(paired[:i]):
            yield (*(pair for k, pair in enumerate(paired) if k not in (i, j)), (new, source), (second, old))


def _keys(paired: Paired) -> dict[str, str]:
    return {n: o for new, old in paired for (_, n), (_, o) in zip(new, old, strict=True)}


def _joined(parts: Sequence[Paired]) -> dict[str, str]:
    return {new: old for paired in parts for new, old in _keys(paired).items()}


def open_sides(
    matches: Sequence[Match], old: Sequence[TensorInfo], new: Sequence[TensorInfo]
) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Return the new tensors that nothing certain gives, and the old ones that nothing certain takes."""
    used = {key for match in matches if match.confidence == "auto" for key in flat(match.old)}
    settled = {match.new for match in matches if match.confidence == "auto"}
    return [t for t in new if t.key not in settled], [t for t in old if t.key not in used]


def flat(source: Any) -> tuple[str, ...]:
    """Return the keys of a source."""
    if source is None:
        return ()
    return (source,) if isinstance(source, str) else tuple(key for part in source for key in flat(part))
