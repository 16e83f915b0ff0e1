"""How much of a policy is settled with a witness and both codes at hand, on generated policies that really run.

    uv run --no-sync python benchmarks/drift/witness.py --pairs 40
    uv run --no-sync python benchmarks/drift/witness.py --pairs 40 --markdown

Each pair is one function in two layouts (`zoos.py`). What counts is every new tensor that can change an output: other
numbers in it, all else being right, and the outputs are others. A claim is right when it is the truth, or when a policy
that follows all claims in place of the truth gives the same outputs on observations and weights that neither has seen
(two that may change places). Exit code 1 when a certain claim is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from app_loader.matching import Match, match_tensors
from app_loader.migration.draft.settle_both import settle_with_both
from app_loader.migration.draft.shaken import shake
from app_loader.migration.draft.trial import open_sides
from app_loader.migration.draft.tries import LIMIT, Tries
from app_loader.migration.draft.ways import made
from app_loader.revisions.signatures import module_signature
from app_loader.witness import Witness, draw_observations, record_witness, replay_witness
from torch import Tensor
from zoos import Drifting, make_pair


@dataclass(slots=True)
class Score:
    """Counts over new tensors that can change an output.

    Attributes:
        tensors: how many there are.
        right: certain and right.
        wrong: certain and wrong, counted over all tensors.
        seconds: on the clock.
        runs: of either code.
    """

    tensors: int = 0
    right: int = 0
    wrong: int = 0
    seconds: float = 0.0
    runs: int = 0

    def add(self, other: Score) -> None:
        """Add another score."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def row(self, name: str) -> tuple[str, ...]:
        """Return the score as cells."""
        recall = f"{100 * self.right / self.tensors:.1f} %" if self.tensors else "-"
        return name, recall, f"{self.right}/{self.tensors}", str(self.wrong), str(self.runs), f"{self.seconds:.1f}"


HEAD = ("", "recall", "right", "wrong", "runs", "seconds")


def true_tensors(truth: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the new code's tensors as they should be."""
    found = {}
    for key, (op, source) in truth.items():
        if op == "cat":
            found[key] = torch.cat([weights[part] for part in source])
        else:
            found[key] = weights[source].t() if op == "transpose" else weights[source]
    return found


def put(policy: Drifting, tensors: Mapping[str, Tensor]) -> None:
    """Fill a policy."""
    policy.load_state_dict({key: value.detach().clone() for key, value in tensors.items()}, assign=True)


class Judge:
    """Knows the truth of a pair and compares outputs on observations of its own."""

    def __init__(self, old: Drifting, new: Drifting, truth: Mapping[str, Any]) -> None:
        buffers = frozenset(name for name, _ in old.named_buffers())
        self.weights = shake(old.state_dict(), buffers=buffers, seed=99)
        put(old, self.weights)
        shown = draw_observations(old.rules, seed=77, steps=5, batch=16)
        self.witness: Witness = record_witness(old, observations=shown)
        self.new, self.truth = new, truth
        self.right = true_tensors(truth, self.weights)
        assert self.same(self.right), "the truth is no truth"

    def same(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether the new code does what the old one did."""
        put(self.new, tensors)
        return replay_witness(self.new, self.witness).met

    def influential(self, key: str) -> bool:
        """Tell whether other numbers in a tensor change an output."""
        value = self.right[key]
        if not value.dtype.is_floating_point:
            return not self.same({**self.right, key: value + 1})
        return not self.same({**self.right, key: value * 1.5 + 0.1})

    def verdicts(self, matches: Mapping[str, Match]) -> dict[str, bool]:
        """Tell of each claim whether it is the truth, or does as well together with all the others."""
        claimed = {key: made(match, self.weights, self.right[key]) for key, match in matches.items()}
        as_well = self.same({**self.right, **claimed})
        return {key: as_well or (match.op, match.old) == self.truth[key] for key, match in matches.items()}


def score_pair(seed: int) -> dict[str, Score]:
    """Score one pair, by method."""
    old, new, truth = make_pair(seed)
    tensors = {key: value.detach().clone() for key, value in old.state_dict().items()}
    recorded = record_witness(old)
    (olds, tied_old), (news, tied_new) = module_signature(old), module_signature(new)
    began = time.perf_counter()
    signed = match_tensors(olds, news, tied_old=tied_old, tied_new=tied_new)
    matched = time.perf_counter() - began
    open_new, open_old = open_sides(signed, olds, news)
    sure = {match.new: match for match in signed if match.confidence == "auto"}
    like = new.state_dict()

    def certain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: made(match, weights, like[key]) for key, match in sure.items()}

    began = time.perf_counter()
    settled = settle_with_both(
        old,
        new,
        weights=tensors,
        certain=certain,
        open_new=open_new,
        open_old=open_old,
        buffers=frozenset(t.key for t in olds if t.kind == "buffer"),
        recorded=recorded,
        tries=Tries(),
    )
    tried = time.perf_counter() - began
    judge = Judge(old, new, truth)
    counted = [key for key in truth if judge.influential(key)]
    scores = {}
    with_both = {**sure, **(settled.matches if settled else {})}
    for name, matches, seconds, runs in (
        ("signatures", sure, matched, 0),
        ("signatures and both codes", with_both, matched + tried, settled.tried if settled else LIMIT),
    ):
        verdicts = judge.verdicts(matches)
        scores[name] = Score(
            tensors=len(counted),
            right=sum(verdicts.get(key, False) for key in counted),
            wrong=sum(not right for right in verdicts.values()),
            seconds=seconds,
            runs=runs,
        )
    return scores


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="seed of the first pair")
    parser.add_argument("--per-pair", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    totals: dict[str, Score] = {}
    rows = []
    for seed in range(options.first, options.first + options.pairs):
        for name, score in score_pair(seed).items():
            totals.setdefault(name, Score()).add(score)
            if options.per_pair:
                rows.append(score.row(f"{seed} {name}"))
                print(*rows[-1], flush=True)
    rows += [score.row(name) for name, score in totals.items()]
    if options.markdown:
        print("\n".join("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * len(HEAD), *rows)))
    else:
        for row in (HEAD, *rows):
            print("  ".join(cell.rjust(28 if i == 0 else 10) for i, cell in enumerate(row)))
    return int(any(score.wrong for score in totals.values()))


if __name__ == "__main__":
    sys.exit(main())
