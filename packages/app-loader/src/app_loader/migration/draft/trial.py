"""Settle what the signatures leave open by trying: both codes and the witness are at hand, and nobody else has both.

Open modules of equal shapes are assigned in every order-preserving way first, then in every way, up to a limit; an
assignment is
accepted when it alone meets the witness. Tensors that nothing gives begin as the new code initialises them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations, product
from typing import Any

import torch
from policy_interface import GameRules, Policy, PolicyArchitecture
from torch import Tensor

from app_loader.matching import Match, TensorInfo
from app_loader.witness import Witness, replay_witness

LIMIT = 2000
"""How many assignments are tried; a second or two for a policy of a few million parameters each hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the trial found.

    Attributes:
        sources: new key to old key.
        fresh: new keys that nothing of the archive gives.
        tried: how many assignments were run.
        met: how many of them met the witness.
    """

    sources: Mapping[str, str]
    fresh: tuple[str, ...]
    tried: int
    met: int


def settle(
    architecture: PolicyArchitecture,
    rules: GameRules,
    witness: Witness,
    certain: Mapping[str, Tensor],
    old_tensors: Mapping[str, Tensor],
    open_new: Sequence[TensorInfo],
    open_old: Sequence[TensorInfo],
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

    Returns:
        The one assignment that meets the witness; None when none does, or when several do that differ.
    """
    torch.manual_seed(0)
    policy = architecture.make_policy(rules)
    module = policy.module
    if module is None:
        return None
    live = {key: value for key, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    fresh = {key: value.detach().clone() for key, value in live.items()}
    _fill(live, certain)
    met: list[dict[str, str]] = []
    tried = 0
    for assignment in islice(_assignments(open_new, open_old), LIMIT):
        tried += 1
        _fill(live, {**{t.key: fresh[t.key] for t in open_new}, **{n: old_tensors[o] for n, o in assignment.items()}})
        if _meets(policy, witness):
            met.append(assignment)
    if not met:
        return None
    most = max(len(assignment) for assignment in met)
    best = [assignment for assignment in met if len(assignment) == most]
    if len(best) > 1:
        return None
    left = tuple(t.key for t in open_new if t.key not in best[0])
    return Settled(sources=best[0], fresh=left, tried=tried, met=len(met))


def _fill(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for key, value in values.items():
            live[key].copy_(value)


def _meets(policy: Policy, witness: Witness) -> bool:
    try:
        return replay_witness(policy, witness).met
    except (RuntimeError, ValueError):
        return False


def _assignments(new: Sequence[TensorInfo], old: Sequence[TensorInfo]) -> Iterator[dict[str, str]]:
    """Every way to give old modules to new ones of equal shapes, those that keep the order first."""
    groups = list(_groups(new, old))
    ordered = [list(islice(_ordered(*group), LIMIT)) for group in groups]
    disordered = [list(islice(_disordered(*group), LIMIT)) for group in groups]
    # each way exactly once: first no group out of order, then any; without groups there is one way, the empty one
    for out_of_order in product((False, True), repeat=len(groups)):
        ways = (disordered[i] if out else ordered[i] for i, out in enumerate(out_of_order))
        for chosen in product(*ways):
            yield {key: source for part in chosen for key, source in part.items()}


Unit = tuple[tuple[str, str], ...]
"""A module's tensors: (leaf name, key)."""


def _groups(new: Sequence[TensorInfo], old: Sequence[TensorInfo]) -> Iterator[tuple[list[Unit], list[Unit]]]:
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


def _ordered(new: list[Unit], old: list[Unit]) -> Iterator[dict[str, str]]:
    count = min(len(new), len(old))
    for some_new in combinations(new, count):
        for some_old in combinations(old, count):
            yield _paired(some_new, some_old)


def _disordered(new: list[Unit], old: list[Unit]) -> Iterator[dict[str, str]]:
    count = min(len(new), len(old))
    for some_new in combinations(new, count):
        for some_old in permutations(old, count):
            if list(some_old) != sorted(some_old, key=old.index):
                yield _paired(some_new, some_old)


def _paired(new: Sequence[Unit], old: Sequence[Unit]) -> dict[str, str]:
    return {n: o for one, other in zip(new, old, strict=True) for (_, n), (_, o) in zip(one, other, strict=True)}


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
