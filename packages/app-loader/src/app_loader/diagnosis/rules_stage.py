"""Stage rules: today's game rules beside those that the policy was made for, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policy_interface import GameRules
from policy_interface.comparison import RulesChange

from app_loader.diagnosis.finding import Finding

_OPERATIONS = {
    ("action", "added"): "AddAction, where it is the last one, and Resize of the tensors that have a row per action",
    ("action", "removed"): "DropAction, where it is the last one, and Resize of the tensors that have a row per action",
}
"""What a revision has to say for a change that no policy follows by itself."""

_NONE = {
    ("feature", "added"): "no revision can say this: the policy was trained without it; give it today's rules without "
    "it, or train a new policy",
    ("feature", "removed"): "no revision can say this: the policy reads it; go on observing it, or train a new policy",
}
"""What a person can do where no operation of a revision fits."""


def judge_rules(old: GameRules, new: GameRules) -> Iterator[Finding]:
    """Yield every difference by name."""
    changes = old.compare(new).changes
    for change in changes:
        harmless = change.subject in ("agents", "tags")
        follows = change.kind in ("renumbered", "rescaled")
        twin = None if harmless or follows else _same_place(change, changes)
        yield Finding(
            stage="rules",
            severity="note" if harmless else "warning" if follows else "error",
            subject=f"{change.subject} {change.name}",
            message=f"{change.subject} {change.name!r} was {change.kind}",
            old=change.old,
            new=change.new,
            evidence=(_evidence(change, twin, harmless=harmless, follows=follows),),
            candidates=(twin.name,) if twin else (),
            next_command=""
            if harmless
            else "mpt load ARCHIVE --rules RULES"
            if follows
            else "mpt load ARCHIVE --code trained   # the game it was made for",
        )


def _evidence(change: RulesChange, twin: RulesChange | None, *, harmless: bool, follows: bool) -> str:
    if harmless:
        return "no observation and no action depends on it"
    if follows:
        return "a policy follows a renumbering or rescaling by name"
    if twin is not None:
        old, new = (change, twin) if change.kind == "removed" else (twin, change)
        name = "RenameAction" if change.subject == "action" else "RenameFeature"
        return (
            f"{old.name!r} is gone and {new.name!r} has its id; if that is another name, a revision says it with {name}"
        )
    what = change.subject, change.kind
    if what in _OPERATIONS:
        return f"a revision would need {_OPERATIONS[what]}"
    return _NONE.get(what, "no revision can say this: the policy was made for another game")


def _same_place(change: RulesChange, changes: Sequence[RulesChange]) -> RulesChange | None:
    """Return the change that came where this one went, or went where this one came."""
    if change.kind not in ("added", "removed"):
        return None
    other = "removed" if change.kind == "added" else "added"
    place = change.new if change.kind == "added" else change.old
    for each in changes:
        there = each.old if other == "removed" else each.new
        if (each.subject, each.kind, there) == (change.subject, other, place):
            return each
    return None
