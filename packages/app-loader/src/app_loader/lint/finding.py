"""One place where application code knows concrete model code, and what to use instead."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Rule(StrEnum):
    """Why a place is reported."""

    IMPORT = "import"
    CLASS_PATH = "class-path"
    ISINSTANCE = "isinstance"
    KIND = "kind"
    CAPABILITY = "capability"
    UNREADABLE = "unreadable"


INSTEAD = {
    Rule.IMPORT: "load_policy(path) gives a policy; for types use Policy and PolicyArchitecture of policy_interface",
    Rule.CLASS_PATH: "let load_policy resolve the kind that the file names; a class path ties it to today's modules",
    Rule.ISINSTANCE: "isinstance(policy, policy_interface.Policy), and policy.capabilities for what it can do: "
    "two isolated versions of one class are two classes",
    Rule.KIND: "treat policy.architecture.kind as data; what differs by kind belongs behind the contract",
    Rule.CAPABILITY: "ask policy.capabilities, as in Capability.VALUE in policy.capabilities, then read the output",
    Rule.UNREADABLE: "make it valid Python of this interpreter's version, or leave it out with --exclude",
}
"""What to use instead, by rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place.

    Attributes:
        path: the file, as it was given or found.
        line: counted from 1.
        column: counted from 1.
        rule: why it is reported.
        what: what stands there.
    """

    path: str
    line: int
    column: int
    rule: Rule
    what: str

    @property
    def instead(self) -> str:
        """What to use instead."""
        return INSTEAD[self.rule]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.rule}: {self.what}"

    def to_document(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        names = ("path", "line", "column", "rule", "what", "instead")
        return {name: getattr(self, name) for name in names}
