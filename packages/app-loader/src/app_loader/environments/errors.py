"""The errors of the environment adapters.

LoaderError
├── UnsupportedSpaceError    an environment has a space that no game rules describe
├── UnknownEnvironmentError  no environment has the id
└── UnfitEnvironmentError    an environment's observations or actions are not those of a policy
"""

from __future__ import annotations

from app_loader.errors import LoaderError


class UnsupportedSpaceError(LoaderError):
    """An environment's observations or actions cannot be described by game rules.

    Attributes:
        environment: the environment's id or class.
        what: ``observation`` or ``action``.
        space: the space's text.
        expected: what would fit.
    """

    def __init__(self, environment: str, what: str, space: str, expected: str) -> None:
        self.environment = environment
        self.what = what
        self.space = space
        self.expected = expected
        super().__init__(
            f"{environment} has the {what} space {space}, expected {expected}. "
            f"Wrap the environment so that its {what} space is one of these, as with gymnasium.wrappers."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.environment, self.what, self.space, self.expected)


class UnknownEnvironmentError(LoaderError):
    """No environment has the id.

    Attributes:
        name: the id asked for.
        near: ids that are spelled like it.
        reason: what the library said.
    """

    def __init__(self, name: str, *, near: tuple[str, ...] = (), reason: str = "") -> None:
        self.name = name
        self.near = near
        self.reason = reason
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        # the library guesses as well, at times another name: one guess is enough
        said = reason.partition(" Did you mean")[0].rstrip(".") if near else reason.rstrip(".")
        super().__init__(f"there is no environment {name!r}: {said}{meant}")


class UnfitEnvironmentError(LoaderError):
    """An environment's observations or actions have other shapes than a policy's.

    Attributes:
        environment: the environment's id or class.
        problems: every difference, in words.
    """

    def __init__(self, environment: str, problems: tuple[str, ...]) -> None:
        self.environment = environment
        self.problems = problems
        said = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"the policy was not made for {environment}:{said}\nRun: mpt inspect --rules ARCHIVE")
