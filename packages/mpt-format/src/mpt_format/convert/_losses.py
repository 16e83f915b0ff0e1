"""What a conversion says of itself: what became different, and what has no form at all.

Values only; nothing is converted here.
"""

from __future__ import annotations

__all__ = ["Loss", "LossCounts", "Refused", "check_text", "gather_left_out"]

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mpt_format.strict_json import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One thing that the output does not say the way the source did: where, what it was, what became of it."""

    path: str
    was: str
    became: str

    def to_json(self) -> dict[str, Json]:
        """The loss as JSON values."""
        return {"path": self.path, "was": self.was, "became": self.became}


_NUMBER = re.compile(r"[0-9]+")
_MOST_COUNTED = 5000
"""So many different losses are told apart over many files."""


@dataclass(slots=True, kw_only=True)
class LossCounts:
    """The losses of many files: each once, whatever the numbers in it, with in how many files it occurs."""

    files: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    example: dict[tuple[str, str, str], Loss] = field(default_factory=dict)

    def add(self, losses: Iterable[Loss]) -> None:
        """Count one file's losses."""
        kinds = {(_NUMBER.sub("0", loss.path), _NUMBER.sub("0", loss.was), loss.became): loss for loss in losses}
        for kind, loss in kinds.items():
            if kind in self.files or len(self.files) < _MOST_COUNTED:
                self.files[kind] += 1
                self.example.setdefault(kind, loss)

    def ranked(self) -> list[tuple[int, Loss]]:
        """How many files, and one such loss; most files first."""
        return [(count, self.example[kind]) for kind, count in self.files.most_common()]


_MOST_BRANCHES = 3
"""So many parts of one object may each tell of their own tensors; of more, the object tells."""


def gather_left_out(trails: Sequence[tuple[str, ...]]) -> list[Loss]:
    """One loss for the tensors of each place, however many there are.

    Args:
        trails: Of each tensor, the paths that lead to it from the root, its own the last.
    """
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for trail in trails:
        groups[trail[:-1]].append(trail[-1])
    while True:
        branches = Counter(above[:-1] for above in groups if len(above) > 1)
        wide = {above for above, count in branches.items() if count > _MOST_BRANCHES}
        if not wide:
            break
        gathered: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for above, paths in groups.items():
            gathered[above[:-1] if above[:-1] in wide else above] += paths
        groups = gathered
    losses = []
    for above, paths in groups.items():
        if len(paths) == 1 or not above:
            losses += [Loss(path=path, was="a tensor beside the state dict", became="left out") for path in paths]
        else:
            was = f"{len(paths)} tensors beside the state dict, as {paths[0].removeprefix(above[-1])}"
            losses.append(Loss(path=above[-1], was=was, became="left out"))
    return losses


class Refused(Exception):
    """A node has no JSON form; the text says why."""


def check_text(text: str) -> str:
    """Text as it is, or with its lone surrogates spelled out."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
