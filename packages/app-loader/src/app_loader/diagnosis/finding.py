"""One difference between an archive and code: what it is, what shows it, what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
"""`error`: it does not load. `warning`: it loads and may behave otherwise. `note`: it differs and does not matter."""

STAGES = (
    "format",
    "rules",
    "config",
    "revisions",
    "keys",
    "dimensions",
    "modules",
    "behaviour",
    "libraries",
)
"""The stages in their order; every one is looked at, whatever the ones before it found."""


DRAFT = "mpt migrate draft ARCHIVE --to current -o revision.py"
"""The command that writes down what has to be done; `diagnose` puts the archive and the code into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference.

    Attributes:
        stage: one of `STAGES`.
        severity: how bad it is.
        subject: what differs: a field's path, a key, a feature's name.
        message: what happened, in one sentence.
        old: the value in the archive.
        new: the value in the code.
        evidence: what shows it or explains it, one sentence each.
        candidates: what could be meant, nearest first.
        next_command: what to run; empty when nothing is to be done.
        change: what happened to a field of the config, in one word; empty elsewhere. `schema` or `kind`: another
            one; `renamed`, `unknown`, `new` (with a default), `required` (without), `refused` (the value),
            `default` (another one); in a draft also `moved` (renamed, as the tensors tell).
    """

    stage: str
    severity: Severity
    subject: str
    message: str
    old: Any = None
    new: Any = None
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    next_command: str = ""
    change: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        found = asdict(self)
        return {**found, "evidence": list(self.evidence), "candidates": list(self.candidates)}
