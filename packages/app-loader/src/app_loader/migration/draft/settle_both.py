"""Try with both codes: shake, follow, and keep what the new code cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from policy_interface import Policy
from torch import Tensor

from app_loader.errors import RestoreError
from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.both_codes import BothCodes
from app_loader.migration.draft.shaken import shake
from app_loader.migration.draft.threads import one_thread_for
from app_loader.migration.draft.trial import Init, Settled, without_rivals
from app_loader.migration.draft.tries import OutOfTriesError, Tries
from app_loader.migration.draft.ways import sources_of
from app_loader.restore import restore
from app_loader.witness import Witness, draw_observations, has_memory, record_witness, replay_witness

SEED = 11
STEPS, BATCH = 8, 4
"""What a policy with memory is shown; one without is shown as many at once."""

Certain = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Makes the new tensors that are settled already of the old ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is to be settled; the fields are the arguments of `settle_with_both`."""

    old: Policy
    new: Policy
    weights: Mapping[str, Tensor]
    certain: Certain
    open_new: Sequence[TensorInfo]
    open_old: Sequence[TensorInfo]
    recorded: Witness | None
    tries: Tries


def settle_with_both(
    old: Policy,
    new: Policy,
    *,
    weights: Mapping[str, Tensor],
    certain: Certain,
    open_new: Sequence[TensorInfo],
    open_old: Sequence[TensorInfo],
    buffers: frozenset[str],
    recorded: Witness | None,
    tries: Tries,
) -> Settled | None:
    """Find the sources of open tensors by running both codes.

    Args:
        old: the old code's policy; its weights are replaced.
        new: the new code's policy with all its tensors, the open ones as the code makes them; they are replaced.
        weights: the archive's tensors by key.
        certain: makes the settled new tensors of old ones.
        open_new: new tensors without a source.
        open_old: old tensors without a use.
        buffers: keys of the archive that are no parameters.
        recorded: the archive's witness, which a proposal has to meet with the archive's own weights; None without one.
        tries: how much it may cost.

    Returns:
        What is settled; None when no arrangement does what the old code does, or when `tries` ended.
    """
    if old.module is None or new.module is None:
        return None
    task = _Task(
        old=old,
        new=new,
        weights=weights,
        certain=certain,
        open_new=open_new,
        open_old=open_old,
        recorded=recorded,
        tries=tries,
    )
    with one_thread_for(sum(value.nbytes for value in weights.values())):
        return _try_each_way_of_shaking(task, buffers)


def _try_each_way_of_shaking(task: _Task, buffers: frozenset[str]) -> Settled | None:
    weights = task.weights
    every = frozenset(weights)
    for still in (frozenset[str](), buffers, every):  # a buffer may be computed anew; with true weights least shows
        shaken = shake({k: v for k, v in weights.items() if k not in still}, buffers=buffers, seed=SEED)
        shaken |= {key: weights[key].clone() for key in still}
        try:
            settled = _settle(task, shaken)
        except (OutOfTriesError, RestoreError):
            return None
        if settled is not None:
            return settled
    return None


def _settle(task: _Task, shaken: Mapping[str, Tensor]) -> Settled | None:
    _put(task.old, shaken)
    _put(task.new, {key: value.clone() for key, value in task.certain(shaken).items()})
    both = BothCodes(
        old=task.old,
        new=task.new,
        weights=shaken,
        open_new=task.open_new,
        open_old=task.open_old,
        shown=record_witness(task.old, observations=_observations(task.old)),
        tries=task.tries,
    )
    found = next((matches for matches in both.propose() if both.meets(matches)), None)
    if found is None:
        return None
    matches = _accepted(both, found, task.open_new)
    fresh = _fresh(both, found, [info for info in task.open_new if info.key not in found])
    if not _does_what_was_recorded(task, both, found):
        return None
    sources = {key: match.old for key, match in matches.items() if match.op == "copy" and isinstance(match.old, str)}
    return Settled(sources=sources, fresh=fresh, tried=task.tries.made, met=task.tries.met, matches=matches)


def _accepted(both: BothCodes, found: Mapping[str, Match], open_new: Sequence[TensorInfo]) -> dict[str, Match]:
    """Return what cannot be otherwise: no other place does as well, and other numbers change an output."""
    doubtful = _doubtful(both, found, open_new)
    accepted = {key: match for key, match in found.items() if key not in doubtful and both.matters(found, key)}
    said = "with another's numbers in its place the outputs are others"
    matches, exchangeable = {}, both.twins(found)
    for key, match in accepted.items():
        twins = [other for other in exchangeable[key] if other in accepted]
        told = (f"it may change places with {', '.join(twins)} without a difference: either is right",) if twins else ()
        matches[key] = replace(match, confidence="auto", evidence=(*match.evidence, said, *told))
    return matches


def _put(policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    assert policy.module is not None
    restore(policy.module, {**policy.module.state_dict(keep_vars=True), **tensors}, subject="trial")


def _observations(policy: Policy) -> Any:
    steps, batch = (STEPS, BATCH) if has_memory(policy) else (1, STEPS * BATCH)
    return draw_observations(policy.rules, seed=SEED, steps=steps, batch=batch)


def _doubtful(both: BothCodes, found: Mapping[str, Match], open_new: Sequence[TensorInfo]) -> set[str]:
    """Return tensors of which another place does as well: a new module of their shapes, to which nothing was given."""
    modules: dict[str, dict[str, TensorInfo]] = {}
    for info in open_new:
        modules.setdefault(info.key.rpartition(".")[0], {})[info.key.rpartition(".")[2]] = info
    shapes = {path: {leaf: info.shape for leaf, info in leaves.items()} for path, leaves in modules.items()}
    empty = [path for path, leaves in modules.items() if not any(info.key in found for info in leaves.values())]
    doubtful: set[str] = set()
    for free in empty:
        alike = [path for path in modules if path not in empty and shapes[path] == shapes[free]]
        held = {path: [info.key for info in modules[path].values() if info.key in found] for path in alike}
        for keys in held.values():
            away = {key: match for key, match in found.items() if key not in keys}
            there = [replace(found[key], new=modules[free][key.rpartition(".")[2]].key) for key in keys]
            if both.meets({**away, **{match.new: match for match in there}}):
                doubtful.update(key for some in held.values() for key in some)
                break
    return doubtful


def _fresh(both: BothCodes, found: Mapping[str, Match], open_new: Sequence[TensorInfo]) -> dict[str, Init]:
    """Return a beginning that can be written down and does as well, for each tensor that nothing can give."""
    begin = both.beginnings
    wanted: dict[str, Init] = {t.key: "ones" if bool((begin[t.key] == 1).all()) else "zeros" for t in open_new}
    if not wanted:
        return {}
    written = {key: torch.full_like(begin[key], init == "ones") for key, init in wanted.items()}
    if not both.meets(found, written):
        return {}
    used = {key for match in found.values() for key in sources_of(match)}
    return without_rivals(wanted, open_new, [info for info in both.open_old if info.key not in used])


def _does_what_was_recorded(task: _Task, both: BothCodes, found: Mapping[str, Match]) -> bool:
    """Tell whether the archive's own weights, so arranged, do what was recorded."""
    if task.recorded is None:
        return True
    _put(task.new, {**task.certain(task.weights), **both.made_of(found, task.weights)})
    return replay_witness(task.new, task.recorded).met
