"""The proof of a migration: old code on old weights beside new code on migrated weights, output by output.

First the witness that the archive recorded, then fresh observations drawn from the old rules (`migration.rounds`). A
tolerance decides, and the largest difference of every output is told whatever it decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpt_format import Archive
from policy_interface import GameRules, Policy

from app_loader.migration.rounds import BATCH as BATCH  # released under these names: kept
from app_loader.migration.rounds import SEEDS, Rounds
from app_loader.migration.rounds import STEPS as STEPS
from app_loader.revisions.projected import project
from app_loader.revisions.route import Route
from app_loader.witness import OutputDifference, replay_witness


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared and how it came out.

    Attributes:
        on_witness: every recorded output beside the new code's; empty when the archive has no witness.
        on_fresh: every output of the old code beside the new code's, over all rounds together; empty when the old code
            is not at hand.
        seeds: of the fresh observations.
        longest_run: how many steps in a row were looked at; 1 for a policy without memory, 0 when nothing fresh was.
        missing: why a part was not done, in words.
    """

    on_witness: tuple[OutputDifference, ...]
    on_fresh: tuple[OutputDifference, ...]
    seeds: tuple[int, ...] = SEEDS
    longest_run: int = 0
    missing: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether something was compared and all of it lies within the tolerance."""
        compared = [*self.on_witness, *self.on_fresh]
        return bool(compared) and all(difference.within for difference in compared)

    @property
    def largest(self) -> float:
        """The largest difference of any floating point output."""
        return max((d.largest for d in (*self.on_witness, *self.on_fresh) if d.name != "action"), default=0.0)

    def to_document(self) -> dict[str, Any]:
        """Return the proof as plain data."""
        return {
            "held": self.held,
            "witness": [_row(difference) for difference in self.on_witness],
            "fresh": [_row(difference) for difference in self.on_fresh],
            "seeds": list(self.seeds),
            "longest_run": self.longest_run,
            "missing": list(self.missing),
        }


def _row(d: OutputDifference) -> dict[str, Any]:
    largest = None if d.largest == float("inf") else d.largest
    return {"output": d.name, "largest": largest, "outside": d.differing, "elements": d.elements, "note": d.note}


def prove(archive: Archive, old: Policy | None, new: Policy, route: Route) -> Proof:
    """Compare old and new behaviour.

    Args:
        archive: the archive before the migration.
        old: its policy with the code it was trained with; None when that code is not at hand.
        new: the migrated policy with the new code.
        route: the revisions between the two.
    """
    from app_loader.load import read_witness

    missing = []
    old_rules = GameRules.from_document(archive.game_rules)
    seen = project(new, old_rules, route)
    if route.backwards and old is not None:  # fewer actions again: the old policy is seen with the new one's eyes
        old = project(old, new.rules, Route(revisions=route.revisions[::-1], backwards=False, head=None))
    witness = read_witness(archive)
    on_witness: tuple[OutputDifference, ...] = ()
    if route.backwards and old_rules.actions != new.rules.actions:
        missing.append("the witness speaks of actions that the target does not have")
    elif witness is None:
        missing.append("the archive has no witness")
    else:
        on_witness = replay_witness(seen, witness).differences
    if old is None:
        missing.append("the code it was trained with is not at hand, so nothing fresh could be compared")
        return Proof(on_witness=on_witness, on_fresh=(), missing=tuple(missing))
    rounds = Rounds(old, seen, None if witness is None else witness.spec)
    on_fresh = rounds.compare()
    return Proof(
        on_witness=on_witness, on_fresh=on_fresh, longest_run=rounds.longest_run, missing=(*missing, *rounds.missing)
    )
