"""A change since the last release, how much of a bump it asks for, and the least version that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from packaging.version import Version


class Bump(IntEnum):
    """Which number of a version a change asks to raise."""

    PATCH = 0
    MINOR = 1
    MAJOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        promise: which promise it touches: ``api``, ``schema``, ``output``, ``kind``, ``tensors``, ``config``,
            ``behaviour``, ``draw``, ``command``, or ``revision``: a change of a kind that no version number makes up
            for, because nothing brings older checkpoints along.
        where: what changed, by name.
        what: the change in words.
        bump: which number it asks to raise.
    """

    promise: str
    where: str
    what: str
    bump: Bump

    def __str__(self) -> str:
        return f"{self.bump.name.lower():5} {self.promise:9} {self.where}: {self.what}"


def minimum_version(released: Version, changes: Iterable[Change]) -> Version:
    """Return the least version that may follow a release.

    Before 1.0 the second number breaks and the third adds, as PEP 440 ranges like ``~=0.4.0`` read them.
    """
    bump = max((change.bump for change in changes), default=Bump.PATCH)
    major, minor, patch = released.major, released.minor, released.micro
    if major == 0:
        return Version(f"0.{minor + 1}.0" if bump is Bump.MAJOR else f"0.{minor}.{patch + 1}")
    if bump is Bump.MAJOR:
        return Version(f"{major + 1}.0.0")
    return Version(f"{major}.{minor + 1}.0" if bump is Bump.MINOR else f"{major}.{minor}.{patch + 1}")


def worst_first(changes: Iterable[Change]) -> Sequence[Change]:
    """Return the changes, those that ask for the largest bump first."""
    return sorted(changes, key=lambda change: (-change.bump, change.promise, change.where))
