"""Match the tensors of an old checkpoint to those that new code expects, from the two signatures alone.

Phases: equal keys under guard (`exact`), then the rest from corresponding modules outwards (`context`), then tensors
made of several or
turned (`composite`); what stays open is suggested or abstained from. A wrong automatic match is worse than any number
of open ones: every
`auto` needs evidence that tells it from every tensor of its shape, and order of registration is never enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app_loader.matching._parametrized import plainly_named, with_real_keys
from app_loader.matching._side import Side
from app_loader.matching._state import State
from app_loader.matching.composite import match_composites
from app_loader.matching.context import match_in_context
from app_loader.matching.exact import match_exact
from app_loader.matching.signature import Match, TensorInfo
from app_loader.matching.suggest import suggest_rest


def match_tensors(
    old: Sequence[TensorInfo],
    new: Sequence[TensorInfo],
    *,
    tied_old: Sequence[Sequence[str]] = (),
    tied_new: Sequence[Sequence[str]] = (),
) -> list[Match]:
    """Match every new tensor to its source in the old checkpoint, or abstain.

    Args:
        old: Signature of the checkpoint.
        new: Signature of the new code, for example of a policy built on the `meta` device.
        tied_old: Groups of old keys that share one tensor.
        tied_new: Groups of new keys that share one tensor.

    Returns:
        One match per new tensor, in the order of `new`.
    """
    old, old_names = plainly_named(old)
    new, new_names = plainly_named(new)
    state = State(Side(old, _renamed(tied_old, old_names)), Side(new, _renamed(tied_new, new_names)))
    match_exact(state)
    match_in_context(state)
    suggested = match_composites(state)
    match_in_context(state)  # what was made of several no longer stands beside the rest
    found = {match.new: match for match in suggest_rest(state)}
    found.update({match.new: match for match in suggested if found[match.new].confidence == "abstain"})
    found.update(state.composites)
    for key, source in state.source.items():
        same_dtype = not state.new.by_key[key].dtype or not state.old.by_key[source].dtype
        same_dtype = same_dtype or state.new.by_key[key].dtype == state.old.by_key[source].dtype
        evidence = state.evidence[key]
        if not same_dtype:
            evidence = (f"dtype {state.old.by_key[source].dtype} -> {state.new.by_key[key].dtype}", *evidence)
        found[key] = Match(new=key, old=source, confidence="auto" if same_dtype else "suggest", evidence=evidence)
    for key, mates in state.new.tied_with.items():
        if key not in state.source and key not in state.composites:
            head = next((mate for mate in mates if mate in state.source or mate in state.composites), mates[0])
            if head != key:
                found[key] = replace(found[head], new=key, evidence=(f"shares one tensor with {head}",))
    return [with_real_keys(found[tensor.key], old_names, new_names) for tensor in new]


def _renamed(groups: Sequence[Sequence[str]], real: Mapping[str, str]) -> list[list[str]]:
    plain = {key: name for name, key in real.items()}
    return [[plain.get(key, key) for key in group] for group in groups]
