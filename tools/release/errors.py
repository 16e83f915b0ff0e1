"""The refusals of the release command.

ReleaseError
├── UnknownPackageError    no such package in this repository
├── TreeError              the checkout is not in a state to be released from
├── BumpError              a promise is broken and the version does not say so
├── MissingRevisionError   a kind changed and nothing brings older checkpoints along
├── BuildError             a wheel could not be built, or two builds of one commit differ
├── RehearsalError         the built wheel does not work where only its declared dependencies are
└── RebuildError           a released wheel is not what its tag builds
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ReleaseError(Exception):
    """Base of every refusal to release."""


class UnknownPackageError(ReleaseError):
    """No package of that name.

    Attributes:
        name: what was asked for.
        known: the packages of the repository.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"no package {name!r} in this repository, expected one of {', '.join(known)}")


class TreeError(ReleaseError):
    """The checkout cannot be released from.

    Attributes:
        problems: everything that is in the way.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the checkout cannot be released from:" + "".join(f"\n  {text}" for text in problems))


class BumpError(ReleaseError):
    """A lesser version than the changes ask for.

    Attributes:
        package: the package's name.
        released: the last released version.
        version: the version that was asked for.
        minimum: the least version that keeps the promises.
        breakages: what asks for it, one line each.
    """

    def __init__(self, package: str, released: str, version: str, minimum: str, breakages: Sequence[str]) -> None:
        self.package = package
        self.released = released
        self.version = version
        self.minimum = minimum
        self.breakages = tuple(breakages)
        super().__init__(
            f"{package} {version} does not say what changed since {released}; the least version is {minimum}:"
            + "".join(f"\n  {text}" for text in breakages)
            + f"\nRelease it as {minimum} or above (just release {package} {minimum}), or undo the changes. "
            "VERSIONING.md says what each number promises."
        )


class MissingRevisionError(ReleaseError):
    """Kinds changed without a revision; no version number makes up for that.

    Attributes:
        package: the zoo's name.
        released: the last released version.
        kinds: the kinds that no new revision names.
        changes: what changed in them, one line each.
    """

    def __init__(self, package: str, released: str, kinds: Sequence[str], changes: Sequence[str]) -> None:
        self.package = package
        self.released = released
        self.kinds = tuple(kinds)
        self.changes = tuple(changes)
        super().__init__(
            f"{package}: {', '.join(kinds)} changed since {released}, and no reviewed revision names what changed:"
            + "".join(f"\n  {text}" for text in changes)
            + "\nWrite one with its `since` set to the new version (docs/migration.md; mpt migrate draft CHECKPOINT), "
            "or undo the changes."
        )


class BuildError(ReleaseError):
    """No wheel, or two different ones from one commit."""


class RehearsalError(ReleaseError):
    """The built wheel fails in a clean environment."""


class RebuildError(ReleaseError):
    """A released wheel is not what its tag builds.

    Attributes:
        tag: the tag.
        wheel: the wheel in the wheelhouse.
    """

    def __init__(self, tag: str, wheel: Path) -> None:
        self.tag = tag
        self.wheel = wheel
        super().__init__(
            f"{tag} builds other bytes than {wheel} has; a released wheel never changes: release a new version"
        )
