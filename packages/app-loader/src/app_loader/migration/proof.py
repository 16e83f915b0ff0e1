"""The proof of a migration: old code on old weights beside new code on migrated weights, output by output.

First the witness that the archive recorded, then fresh observations drawn from the old rules with a seed. A tolerance
decides, and
the largest difference of every output is told whatever it decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpt_format import Archive
from policy_interface import GameRules, Policy

from app_loader.revisions.projected import project
from app_loader.revisions.route import Route
from app_loader.witness import OutputDifference, Witness, WitnessSpec, draw_observations, record_witness, replay_witness

SEEDS = (1, 2, 3)
STEPS = 6
BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared and how it came out.

    Attributes:
        on_witness: every recorded output beside the new code's; empty when the archive has no witness.
        on_fresh: every output of the old code beside the new code's, the largest over all seeds; empty when the old
        code is
            not at hand.
        seeds: of the fresh observations.
        missing: why a part was not done, in words.
    """

    on_witness: tuple[OutputDifference, ...]
    on_fresh: tuple[OutputDifference, ...]
    seeds: tuple[int, ...] = SEEDS
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
    tolerance = None if witness is None else witness.spec
    rounds = [_fresh(old, seen, seed, tolerance) for seed in SEEDS]
    worst = {
        name: max(
            (d for one in rounds for d in one if d.name == name), key=lambda d: (bool(d.note), d.differing, d.largest)
        )
        for name in dict.fromkeys(d.name for one in rounds for d in one)
    }
    return Proof(on_witness=on_witness, on_fresh=tuple(worst.values()), missing=tuple(missing))


def _fresh(old: Policy, new: Policy, seed: int, tolerance: WitnessSpec | None) -> tuple[OutputDifference, ...]:
    observations = draw_observations(old.rules, seed=seed, steps=STEPS, batch=BATCH)
    said = record_witness(old, observations=observations)
    spec = said.spec if tolerance is None else _with_tolerance(said.spec, tolerance)
    return replay_witness(new, Witness(spec=spec, tensors=said.tensors)).differences


def _with_tolerance(spec: WitnessSpec, tolerance: WitnessSpec) -> WitnessSpec:
    return WitnessSpec(
        seed=spec.seed,
        steps=spec.steps,
        batch=spec.batch,
        outputs=spec.outputs,
        absolute_tolerance=tolerance.absolute_tolerance,
        relative_tolerance=tolerance.relative_tolerance,
    )
