"""How well signatures are matched across versions of model code, beside three simple methods.

    uv run --no-sync python benchmarks/drift/score.py                  # the pairs beside this file
    uv run --no-sync python benchmarks/drift/score.py FOLDER --per-pair
    uv run --no-sync python benchmarks/drift/score.py FOLDER --markdown

A pair is a JSON file: `old` and `new` signatures in registration order, and the `truth`: new key to old key, or to an
operation and its
sources, or to the operation `new`. Entries are lists (key, shape, kind, module type, dtype) or mappings with these
names. Nothing here
is asserted about seconds. Exit code 1 when a certain match of ours is wrong.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from app_loader.matching import Match, TensorInfo, match_tensors

FIELDS = ("key", "shape", "kind", "module_type", "dtype")

Prediction = Mapping[str, Match]
Pair = Mapping[str, Any]


@dataclass(slots=True)
class Score:
    """Counts over new tensors.

    Attributes:
        mappable: those that one old tensor gives, unchanged or reshaped.
        right: of these, matched with certainty and rightly.
        wrong: matched with certainty and wrongly, whatever the truth is; must be 0.
        composites: those that are joined, cut, stacked or turned.
        composed: of these, found with certainty, with operation and sources.
        suggested_right: suggestions that are right.
        suggested_wrong: suggestions that are wrong.
        abstained: no claim.
        unsound: certain although no signature can settle it.
    """

    mappable: int = 0
    right: int = 0
    wrong: int = 0
    composites: int = 0
    composed: int = 0
    suggested_right: int = 0
    suggested_wrong: int = 0
    abstained: int = 0
    unsound: int = 0

    def add(self, other: Score) -> None:
        """Add another score's counts."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def row(self, name: str) -> tuple[str, ...]:
        """Return the score as cells."""
        recall = f"{100 * self.right / self.mappable:.1f} %" if self.mappable else "-"
        return (
            name,
            recall,
            f"{self.right}/{self.mappable}",
            str(self.wrong),
            str(self.unsound),
            f"{self.composed}/{self.composites}",
            f"{self.suggested_right}/{self.suggested_wrong}",
            str(self.abstained),
        )


HEAD = ("", "recall", "right", "wrong", "unsound", "composites", "suggested r/w", "abstained")


def read_pairs(folder: Path) -> dict[str, Pair]:
    """Read every pair of a folder."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def tensors(entries: Iterable[Any]) -> list[TensorInfo]:
    """Return a side of a pair as the matcher takes it."""
    found = []
    for order, entry in enumerate(entries):
        row = entry if isinstance(entry, Mapping) else dict(zip(FIELDS, entry, strict=True))
        found.append(
            TensorInfo(
                key=row["key"],
                shape=tuple(row["shape"]),
                dtype=row.get("dtype") or "",
                kind=row["kind"],
                module_type=row.get("module_type") or "",
                order=order,
            )
        )
    return found


def ours(pair: Pair) -> Prediction:
    """Return what `match_tensors` says."""
    matches = match_tensors(
        tensors(pair["old"]),
        tensors(pair["new"]),
        tied_old=pair.get("old_tied", ()),
        tied_new=pair.get("new_tied", ()),
    )
    return {match.new: match for match in matches}


def positional(pair: Pair) -> Prediction:
    """Pair the n-th old tensor with the n-th new one where their shapes agree."""
    sides = zip(tensors(pair["old"]), tensors(pair["new"]), strict=False)
    return {new.key: _sure(new.key, old.key) for old, new in sides if old.shape == new.shape}


def shape_order(pair: Pair) -> Prediction:
    """Pair the n-th old tensor of a shape with the n-th new one of that shape."""
    found = {}
    for olds, news in _by_shape(pair):
        found.update({new: _sure(new, old) for old, new in zip(olds, news, strict=False)})
    return found


def string_similarity(pair: Pair) -> Prediction:
    """Pair tensors of a shape by the likeness of their keys, most alike first."""
    found: dict[str, Match] = {}
    for olds, news in _by_shape(pair):
        left = set(olds)
        for new in [new for new in news if new in left]:
            found[new] = _sure(new, new)
            left.discard(new)
        rest = [new for new in news if new not in found]
        ranked = sorted(((_alike(old, new), old, new) for old in left for new in rest), reverse=True)
        for _, old, new in ranked:
            if old in left and new not in found:
                found[new] = _sure(new, old)
                left.discard(old)
    return found


def _by_shape(pair: Pair) -> list[tuple[list[str], list[str]]]:
    groups: dict[Any, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for slot, side in enumerate(("old", "new")):
        for tensor in tensors(pair[side]):
            groups[tensor.shape][slot].append(tensor.key)
    return list(groups.values())


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _sure(new: str, old: str) -> Match:
    return Match(new=new, old=old, confidence="auto")


METHODS: dict[str, Callable[[Pair], Prediction]] = {
    "positional": positional,
    "shape-order": shape_order,
    "string-similarity": string_similarity,
    "match_tensors": ours,
}


def judge(pair: Pair, prediction: Prediction) -> Score:
    """Count how a prediction does on a pair."""
    score = Score()
    hidden = set(pair.get("undecidable", ()))
    for key, truth in pair["truth"].items():
        match = prediction.get(key)
        confidence = "abstain" if match is None or match.old is None else match.confidence
        right = match is not None and _is_right(pair, match, truth)
        if key in hidden:
            score.unsound += confidence == "auto"
            score.wrong += confidence == "auto" and not right
            continue
        op = truth["op"] if isinstance(truth, Mapping) else "copy"
        if op in ("copy", "reshape"):
            score.mappable += 1
            score.right += confidence == "auto" and right
        elif op != "new":
            score.composites += 1
            score.composed += confidence == "auto" and right
        score.wrong += confidence == "auto" and not right
        score.suggested_right += confidence == "suggest" and right
        score.suggested_wrong += confidence == "suggest" and not right
        score.abstained += confidence == "abstain"
    return score


def _is_right(pair: Pair, match: Match, truth: Any) -> bool:
    if isinstance(truth, str):
        return match.op == "copy" and (match.old == truth or _exchangeable(pair, match, truth))
    if truth["op"] == "new" or match.old is None:
        return False
    sources = [match.old] if isinstance(match.old, str) else _listed(match.old)
    if truth["op"] == "reshape":
        return match.op in ("copy", "reshape") and sources == list(truth["from"])
    return bool(match.op == truth["op"] and sources == list(truth["from"]))


def _exchangeable(pair: Pair, match: Match, truth: str) -> bool:
    """Whether the two old tensors are one, or exchanging the new ones changes no output."""
    if any(truth in group and match.old in group for group in pair.get("old_tied", ())):
        return True
    for swap in pair.get("numeric", {}).get("undetected_swaps", ()):
        if match.new in swap:
            other = swap[1 - swap.index(match.new)]
            return bool(pair["truth"].get(other) == match.old)
    return False


def _listed(source: Any) -> Any:
    return source if isinstance(source, str) else [_listed(part) for part in source]


def main() -> int:
    """Print the table. Exit code: 1 when a certain match of ours is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent / "pairs")
    parser.add_argument("--per-pair", action="store_true", help="one line per pair for our own method")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    arguments = parser.parse_args()
    pairs = read_pairs(arguments.folder)
    rows, failed = [], False
    for name, method in METHODS.items():
        total = Score()
        for pair_name, pair in pairs.items():
            score = judge(pair, method(pair))
            if "silent" in pair.get("tags", ()):
                continue
            total.add(score)
            if arguments.per_pair and method is ours:
                rows.append(score.row(pair_name))
        rows.append(total.row(name))
        failed = failed or (method is ours and total.wrong + total.unsound > 0)
    print(f"{len(pairs)} pairs in {arguments.folder}")
    _print([HEAD, *rows], arguments.markdown)
    return int(failed)


def _print(rows: list[tuple[str, ...]], markdown: bool) -> None:
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        print("\n".join([lines[0], "|---" * len(HEAD) + "|", *lines[1:]]))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)))


if __name__ == "__main__":
    sys.exit(main())
