"""The answer of the resolver: a chosen candidate or a refusal, each candidate with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from app_loader.code import Code

Source = Literal["environment", "store", "wheelhouse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One place where the code could come from.

    Attributes:
        source: where it was looked for.
        distribution: its name there.
        version: its version there, empty when nothing was found.
        digest: sha256 (hex) of its wheel, None when there is none.
        accepted: whether it may be used.
        reason: why, in words.
        location: the wheel that could be added to the store; None where there is nothing to add.
        code: the code itself; None when rejected before it could be opened.
        exact: False where a person let it stand for the trained code, whose digest it does not have.
    """

    source: Source
    distribution: str
    version: str
    digest: str | None
    accepted: bool
    reason: str
    location: str | None = None
    code: Code | None = field(default=None, compare=False, repr=False)
    exact: bool = True

    def to_document(self) -> dict[str, Any]:
        """Return the candidate as plain data."""
        names = ("source", "distribution", "version", "digest", "accepted", "reason", "location")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        verdict = "accepted" if self.accepted else "rejected"
        what = " ".join(part for part in (self.distribution, self.version, self.digest and self.digest[:12]) if part)
        return f"{self.source}: {what}: {verdict}, {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What was asked for and what was considered, best first.

    Attributes:
        requested: ``trained``, ``current`` or a version.
        candidates: everything considered.
        store: the folder of the store that was looked into.
        next_command: what to run when nothing was accepted.
    """

    requested: str
    candidates: tuple[Candidate, ...]
    store: str
    next_command: str

    @property
    def chosen(self) -> Candidate | None:
        """The first accepted candidate, or None: then the resolution is a refusal."""
        return next((candidate for candidate in self.candidates if candidate.accepted), None)

    def to_text(self) -> str:
        """Return one line per candidate."""
        return "\n".join(f"  {candidate}" for candidate in self.candidates) or "  nothing was found"
