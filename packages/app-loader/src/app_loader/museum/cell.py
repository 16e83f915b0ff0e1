"""One cell of the matrix: what one version of the code makes of one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mpt_format import Archive, open_archive
from mpt_format.errors import MptError
from policy_interface import PolicyInterfaceError

from app_loader.errors import WitnessError
from app_loader.load import check_witness, load_with, resolve_archive
from app_loader.store import Store


class Verdict(StrEnum):
    """What came of it."""

    EQUAL = "equal"
    CLOSE = "close"
    MIGRATED = "migrated"
    DIFFERS = "differs"
    REFUSED = "refused"

    @property
    def loads(self) -> bool:
        """Whether the policy can be used: it does what its witness recorded."""
        return self in (Verdict.EQUAL, Verdict.CLOSE, Verdict.MIGRATED)


MEANING = {
    Verdict.EQUAL: "does what was recorded, bit for bit",
    Verdict.CLOSE: "does what was recorded, within the tolerance",
    Verdict.MIGRATED: "follows reviewed revisions and does what was recorded, within the tolerance",
    Verdict.DIFFERS: "fits, but does something else than was recorded: it is not loaded unless asked for",
    Verdict.REFUSED: "does not fit, with the reason",
}
"""What a verdict says, for legends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one version of the code makes of one checkpoint.

    Attributes:
        version: the code, as `load_policy` takes it: a version, or ``current``.
        verdict: what came of it.
        detail: the largest difference, the revisions, or the reason; one line.
        trained: whether this is the version that trained the checkpoint.
    """

    version: str
    verdict: Verdict
    detail: str
    trained: bool

    def to_document(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        return {"version": self.version, "verdict": str(self.verdict), "detail": self.detail, "trained": self.trained}


def try_version(path: Path, version: str, store: Store) -> Cell:
    """Load a checkpoint with one version of the code and replay its witness.

    The version that trained it is asked for by digest, as ``trained``. A checkpoint that cannot be read is refused by
    every version: one bad file does not hide the others.
    """
    try:
        with open_archive(path) as archive:
            archive.verify("full")
            code = archive.manifest.code
            trained = code is not None and code.version == version
            verdict, detail = _try(archive, "trained" if trained else version, store)
    except MptError as error:
        return Cell(version=version, verdict=Verdict.REFUSED, detail=_reason(error), trained=False)
    return Cell(version=version, verdict=verdict, detail=detail, trained=trained)


def _try(archive: Archive, requested: str, store: Store) -> tuple[Verdict, str]:
    try:
        policy = load_with(archive, resolve_archive(archive, requested, store))
        report = check_witness(policy, archive)
    except WitnessError as error:
        if error.report is None:
            return Verdict.REFUSED, "no witness was recorded: nothing proves what it does"
        worst = max(error.report.differences, key=lambda difference: difference.largest)
        return Verdict.DIFFERS, worst.note or f"{worst.name} is up to {worst.largest:.3g} away"
    except (MptError, PolicyInterfaceError) as error:
        return Verdict.REFUSED, _reason(error)
    if policy.origin.revisions:
        return Verdict.MIGRATED, ", ".join(policy.origin.revisions)
    largest = max((difference.largest for difference in report.differences), default=0.0)
    return Verdict.EQUAL if report.bit_equal else Verdict.CLOSE, f"largest difference {largest:.3g}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    # a headline that ends with a colon announces what is wrong in the line below it
    return f"{text} {lines[1]}" if text.endswith(":") and len(lines) > 1 else text
