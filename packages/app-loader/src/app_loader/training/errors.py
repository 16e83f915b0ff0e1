"""The errors of training.

LoaderError
└── UntrainablePolicyError  a policy does not give, or does not hold, what a trainer needs
"""

from __future__ import annotations

from collections.abc import Sequence

from app_loader.errors import LoaderError


class UntrainablePolicyError(LoaderError):
    """A policy cannot be trained here.

    Attributes:
        subject: the policy's class.
        reasons: everything that stands in the way.
    """

    def __init__(self, subject: str, reasons: Sequence[str]) -> None:
        self.subject = subject
        self.reasons = tuple(reasons)
        super().__init__(f"{subject} cannot be trained:" + "".join(f"\n  {reason}" for reason in self.reasons))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.subject, self.reasons)
