"""Which trial settles what the signatures leave open, what it found, and why no other one was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from policy_interface import Policy

from app_loader.errors import LoaderError
from app_loader.matching import Match
from app_loader.migration.draft.settle_both import settle_with_both
from app_loader.migration.draft.sides import Sides
from app_loader.migration.draft.threads import one_thread_for
from app_loader.migration.draft.trial import MADE_BYTES, Settled, meets, open_sides, settle, tries_for
from app_loader.migration.draft.tries import LIMIT, Tries
from app_loader.store import Store
from app_loader.witness import Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What trial found.

    Attributes:
        settled: None when it found nothing.
        said: what was tried, what was not and why: one sentence each.
    """

    settled: Settled | None
    said: tuple[str, ...]


def attempt(sides: Sides, matches: Sequence[Match], store: Store) -> Attempt:
    """Settle open matches: with both codes where that can be done, with the witness alone where it cannot.

    Args:
        sides: of the draft.
        matches: one per new tensor.
        store: where the old code is looked for.
    """
    old_code = _find_trained(sides, store)
    said = []
    if isinstance(old_code, str):
        said.append(f"the old code was not run beside the new one: {old_code}")
    else:
        settled, tries = _with_both(sides, matches, old_code)
        if settled is not None:
            return Attempt(settled=settled, said=(f"both codes were run {tries.made:,} times",))
        ended = f"; broken off after {tries.ended}" if tries.ended else ""
        said.append(f"both codes were run {tries.made:,} times and settled nothing{ended}")
    settled, told = _with_witness(sides, matches)
    return Attempt(settled=settled, said=(*said, told))


def meets_witness(sides: Sides, matches: Sequence[Match]) -> bool | None:
    """Return whether the drafted tensors do what was recorded; None when some are open or it cannot be told."""
    witness = _witness(sides)
    if isinstance(witness, str) or any(match.confidence != "auto" for match in matches):
        return None
    tensors = sides.certain_tensors(matches, sides.tensors)
    return meets(sides.architecture, sides.rules, witness, tensors)


def with_attempt(matches: Sequence[Match], found: Attempt) -> list[Match]:
    """Return the matches with what trial settled."""
    settled = found.settled
    if settled is None:
        return list(matches)
    said = f"tried against the witness ({settled.tried} assignments): exchanged or left out, it is not met"
    given = {new: Match(new=new, old=old, confidence="auto", evidence=(said,)) for new, old in settled.sources.items()}
    given.update(settled.matches)
    return [given.get(match.new, match) for match in matches]


def _find_trained(sides: Sides, store: Store) -> Policy | str:
    """Return the policy of the old code, or why it cannot be run."""
    from app_loader.load import load_with, resolve_archive

    archive, weights = sides.archive, sides.weight_bytes
    if sides.migrated.route.revisions:
        followed = ", ".join(sides.migrated.route.ids)
        return f"its tensors have other names since {followed}; draft from an archive that follows these already"
    if weights > MADE_BYTES:
        return f"{weights >> 20:,} MB of weights, and it holds several copies: at most {MADE_BYTES >> 20} MB"
    witness = _witness(sides)
    if not isinstance(witness, str) and not tries_for(sides.tensors, witness):
        return f"{weights:,} bytes of weights are too many to be passed over again and again"
    try:
        return load_with(archive, resolve_archive(archive, "trained", store)).unwrap()
    except LoaderError as error:
        return str(error).splitlines()[0]


def _with_both(sides: Sides, matches: Sequence[Match], trained: Policy) -> tuple[Settled | None, Tries]:
    witness = _witness(sides)
    recorded = None if isinstance(witness, str) else witness
    tries = Tries(LIMIT if recorded is None else tries_for(sides.tensors, recorded))
    open_new, open_old = open_sides(matches, sides.old, sides.new)
    torch.manual_seed(0)
    settled = settle_with_both(
        trained,
        sides.architecture.make_policy(sides.rules),
        weights=sides.tensors,
        certain=lambda weights: sides.certain_tensors(matches, weights),
        open_new=open_new,
        open_old=open_old,
        buffers=sides.buffers,
        recorded=recorded,
        tries=tries,
    )
    return settled, tries


def _with_witness(sides: Sides, matches: Sequence[Match]) -> tuple[Settled | None, str]:
    witness = _witness(sides)
    if isinstance(witness, str):
        return None, f"nothing was tried against the witness: {witness}"
    tensors: Mapping[str, torch.Tensor] = sides.tensors
    tries = Tries(tries_for(tensors, witness))
    if not tries.left:
        return None, f"nothing was tried against the witness: {sides.weight_bytes:,} bytes of weights are too many"
    sure = [match for match in matches if match.confidence == "auto"]
    certain = sides.certain_tensors(sure, tensors)
    open_new, open_old = open_sides(matches, sides.old, sides.new)
    with one_thread_for(sides.weight_bytes):
        settled = settle(sides.architecture, sides.rules, witness, certain, tensors, open_new, open_old, tries=tries)
    if settled is not None:
        return settled, f"{tries.made:,} assignments were tried against the witness, {tries.met:,} met it"
    ended = f" before the trial was broken off after {tries.ended}" if tries.ended else ""
    said = f"{tries.made:,} assignments were tried against the witness, {tries.met:,} met it{ended}"
    return None, f"{said}; nothing is claimed"


def _witness(sides: Sides) -> Witness | str:
    """Return the archive's witness, or why it says nothing about the new code."""
    from app_loader.load import read_witness

    witness = read_witness(sides.archive)
    if witness is None:
        return "the archive has none"
    if sides.migrated.rules != sides.archive.game_rules:
        return "it speaks of the rules before the revisions that were followed"
    return witness
