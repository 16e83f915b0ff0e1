"""The error of a set of revisions.

PolicyInterfaceError
└── InvalidMigrationError    revisions contradict each other, or an operation does not fit: every problem
"""

from __future__ import annotations

from collections.abc import Iterable

from policy_interface.errors import PolicyInterfaceError


class InvalidMigrationError(PolicyInterfaceError, ValueError):
    """Revisions do not form one history, or an operation cannot be applied or undone.

    Attributes:
        subject: the revision or the graph.
        problems: every reason, in words.
    """

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        listing = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{subject}:{listing}\nRun: mpt migrate check   # names every revision and its parents")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.subject, self.problems)
