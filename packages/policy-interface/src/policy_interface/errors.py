"""The errors of the contract.

PolicyInterfaceError
├── InvalidConfigError       a config does not keep to its schema: every problem with its path
├── RulesMismatchError       a policy was made for other game rules than the ones at hand
└── ContractViolationError   a policy breaks the contract: every broken promise

They live here because an exception that crosses the isolation boundary must be one class on both sides.
Every error keeps its facts as attributes and survives pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy_interface.comparison import RulesComparison


class PolicyInterfaceError(Exception):
    """Base of every error of policy-interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One validation defect.

    Attributes:
        path: where it is, from the root of the document, as in ``config.layers[0].width``.
        message: what is wrong with the value there and what was expected.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def _listing(problems: Sequence[Problem]) -> str:
    return "".join(f"\n  {problem}" for problem in problems)


class InvalidConfigError(PolicyInterfaceError, ValueError):
    """A document does not fit its config class.

    Attributes:
        subject: what was parsed, as in ``MlpActorCritic``.
        problems: every defect found, in document order.
    """

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject} has {len(self.problems)} problem(s):{_listing(self.problems)}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.subject, self.problems)


class RulesMismatchError(PolicyInterfaceError):
    """A policy cannot play under the given rules without a change of its weights.

    Attributes:
        comparison: what differs, by name; the old side is what the policy was made for.
    """

    def __init__(self, comparison: RulesComparison) -> None:
        self.comparison = comparison
        super().__init__(
            "the policy was made for other game rules; what differs, by name:\n"
            f"{comparison.to_text()}\n"
            "A pure renumbering or rescaling adapts by name: load_policy(path, rules=...). Anything else takes other "
            "weights: a revision, where one can say it, or a new policy.\n"
            "Run: mpt diagnose ARCHIVE --code trained --rules RULES   # says of each change which of the two"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.comparison,), {"args": self.args}  # whoever knows the paths may have put them in


class ContractViolationError(PolicyInterfaceError):
    """A policy does not do what the contract promises.

    Attributes:
        subject: the policy's class.
        problems: every broken promise found.
    """

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject} breaks the policy contract in {len(self.problems)} place(s):{_listing(problems)}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.subject, self.problems)
