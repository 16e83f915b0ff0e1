"""A matrix compared with the recorded one: which cells are not as they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app_loader.museum.cell import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixChange:
    """One cell that is not as recorded.

    Attributes:
        checkpoint: the row.
        version: the column.
        recorded: the verdict then; None for a cell that is new.
        found: the verdict now; None for a cell that is gone.
    """

    checkpoint: str
    version: str
    recorded: str | None
    found: str | None

    @property
    def worse(self) -> bool:
        """Whether something that loaded does not load any more, or is gone."""
        then = self.recorded is not None and Verdict(self.recorded).loads
        return then and (self.found is None or not Verdict(self.found).loads)

    def __str__(self) -> str:
        then, now = self.recorded or "not recorded", self.found or "gone"
        return f"{self.checkpoint} with {self.version}: {then} -> {now}"


def compare_matrices(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[MatrixChange]:
    """Yield every cell whose verdict differs between two documents of `Matrix.to_document`.

    ``equal`` and ``close`` are one verdict here: the last bit depends on the processor.
    """
    then, now = _verdicts(recorded), _verdicts(found)
    for key in sorted(then.keys() | now.keys()):
        if _loose(then.get(key)) != _loose(now.get(key)):
            checkpoint, version = key
            yield MatrixChange(checkpoint=checkpoint, version=version, recorded=then.get(key), found=now.get(key))


def _verdicts(document: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    rows = document["checkpoints"].items()
    return {(name, cell["version"]): str(Verdict(cell["verdict"])) for name, cells in rows for cell in cells}


def _loose(verdict: str | None) -> str | None:
    return "close" if verdict == "equal" else verdict
