"""Stage keys of an archive that reviewed revisions carry over: what they make of each tensor, in place of any guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from app_loader.diagnosis.finding import Finding
from app_loader.matching import Match, TensorInfo

Sources = Mapping[str, tuple[str, ...]]
"""State-dict key of the code to the archive's keys that it is made of; none for one that a revision adds."""


def judge_carried(old: Sequence[TensorInfo], new: Sequence[TensorInfo], sources: Sources) -> Iterator[Finding]:
    """Yield every key that is made of another one, added or left out."""
    for tensor in new:
        made_of = sources.get(tensor.key, ())
        if made_of != (tensor.key,):
            said = f"the revisions make it of {', '.join(made_of)}" if made_of else "the revisions add it"
            yield Finding(stage="keys", severity="note", subject=tensor.key, message=said)
    used = {key for made_of in sources.values() for key in made_of}
    for tensor in old:
        if tensor.key not in used:
            yield Finding(stage="keys", severity="note", subject=tensor.key, message="the revisions leave it out")


def carried_match(match: Match, sources: Sources) -> Match:
    """Return what the revisions make of one new tensor; the matcher's own word where it names the same sources."""
    made_of = sources.get(match.new, ())
    if len(made_of) != 1 or match.old == made_of[0]:
        return match
    evidence = () if made_of == (match.new,) else ("a reviewed revision makes it of this",)
    return Match(new=match.new, old=made_of[0], confidence="auto", evidence=evidence)
