"""The findings of a file as they are listed: bounded for each severity, and counted in full.

Judges nothing and formats nothing.
"""

from __future__ import annotations

__all__ = ["FindingList"]

from ._result import SEVERITIES, Finding, Severity


class FindingList:
    """Findings in file order, at most so many of each severity."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept: dict[Severity, list[Finding]] = {severity: [] for severity in SEVERITIES}
        self._counted: dict[Severity, int] = dict.fromkeys(SEVERITIES, 0)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it where there is room."""
        self._counted[finding.severity] += 1
        if self.has_room(finding.severity):
            self._kept[finding.severity].append(finding)

    def count(self, severity: Severity) -> None:
        """Count one that is not listed."""
        self._counted[severity] += 1

    def has_room(self, severity: Severity) -> bool:
        """Whether one more of a severity would be listed."""
        return len(self._kept[severity]) < self._bound

    def get_sorted(self) -> list[Finding]:
        """Worst severity first; within one, in file order."""
        return [finding for severity in reversed(SEVERITIES) for finding in self._kept[severity]]

    def get_counts(self) -> dict[Severity, int]:
        """How many findings there are, worst first; severities without any are left out."""
        return {severity: self._counted[severity] for severity in reversed(SEVERITIES) if self._counted[severity]}

    def describe_cuts(self) -> list[str]:
        """For each severity of which not all are listed: how many are."""
        return [
            f"findings: {len(self._kept[severity])} of {count} {severity} ones are listed"
            for severity, count in self._counted.items()
            if count > len(self._kept[severity])
        ]
