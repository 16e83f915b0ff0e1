"""A whole diagnosis: both sides, every finding in order, the matches between the two trees, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from app_loader.diagnosis.finding import STAGES, Finding
from app_loader.matching import Match, TensorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What stands between an archive and code.

    Attributes:
        archive: its path.
        written_by: the code that wrote it, in words.
        code: the code that it was held against, in words.
        would_load: whether `load_policy` with that code succeeds.
        refusal: why it does not, in words; empty when it does.
        revisions: ids of the reviewed revisions that `load_policy` follows on the way.
        findings: every difference, in the order of the stages.
        skipped: stages that could not be looked at, with the reason.
        old: the archive's tensors.
        new: the code's tensors; empty when nothing could be built.
        matches: one per tensor of the code.
    """

    archive: str
    written_by: str
    code: str
    would_load: bool
    refusal: str
    revisions: tuple[str, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...]
    old: tuple[TensorInfo, ...]
    new: tuple[TensorInfo, ...]
    matches: tuple[Match, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing differs that matters."""
        return all(finding.severity == "note" for finding in self.findings)

    def of_stage(self, stage: str) -> tuple[Finding, ...]:
        """Return the findings of one stage."""
        return tuple(finding for finding in self.findings if finding.stage == stage)

    def next_commands(self) -> tuple[str, ...]:
        """Return what to run, each once: what mends the file or the history before what builds on it."""
        commands: dict[str, str] = {}
        for finding in self.findings:
            if finding.next_command and finding.severity != "note":
                said = finding.next_command.partition("   #")[0]
                commands[said] = max(commands.get(said, ""), finding.next_command, key=len)  # with its remark
        return tuple(sorted(commands.values(), key=_rank))

    def verdict(self) -> str:
        """Return the verdict in a sentence."""
        if not self.would_load:
            wrong = {finding.stage for finding in self.findings if finding.severity == "error"}
            why = " under the rules given" if wrong == {"rules"} else ""
            why = why or (": it fits and computes something else" if wrong == {"behaviour"} else "")
            return f"does not load with {self.code}{why}"
        followed = f", following {', '.join(self.revisions)}" if self.revisions else ""
        return f"loads with {self.code}{followed}"

    def to_document(self) -> dict[str, Any]:
        """Return the diagnosis as plain data."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "archive": self.archive,
            "written_by": self.written_by,
            "code": self.code,
            "would_load": self.would_load,
            "refusal": self.refusal,
            "revisions": list(self.revisions),
            "counts": {severity: counts[severity] for severity in ("error", "warning", "note")},
            "stages": list(STAGES),
            "skipped": [{"stage": stage, "reason": reason} for stage, reason in self.skipped],
            "findings": [finding.to_document() for finding in self.findings],
            "next": list(self.next_commands()),
            "matches": [
                {
                    "new": match.new,
                    "old": match.old,
                    "op": match.op,
                    "confidence": match.confidence,
                    "evidence": list(match.evidence),
                    "candidates": list(match.candidates),
                }
                for match in self.matches
            ],
        }


def _rank(command: str) -> int:
    order = ("mpt verify", "mpt zoo", "mpt migrate check", "mpt migrate draft")
    return next((i for i, beginning in enumerate(order) if command.startswith(beginning)), len(order))
