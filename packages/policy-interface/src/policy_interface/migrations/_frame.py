"""What operations on tensors have in common: which keys go in, which come out, and that both name the same fields."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from policy_interface.migrations.errors import InvalidMigrationError
from policy_interface.migrations.key_template import KeyTemplate


@runtime_checkable
class TensorOp(Protocol):
    """One operation on tensors."""

    @property
    def consumes(self) -> tuple[str, ...]:
        """Templates of the keys that go in and are gone afterwards."""

    @property
    def produces(self) -> tuple[str, ...]:
        """Templates of the keys that come out."""

    def inverted(self) -> TensorOp:
        """Return the operation that undoes this one.

        Raises:
            InvalidMigrationError: there is none, with the reason.
        """


class InPlace:
    """Changes every tensor that fits ``key`` and leaves it its name."""

    __slots__ = ()
    key: str

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.key,)


class _WholeAndParts:
    """Has one ``whole`` and several ``parts``; both name the same fields."""

    __slots__ = ()
    parts: tuple[str, ...]
    whole: str

    def __post_init__(self) -> None:
        check_fields(self, self.parts, (self.whole,))


class Joining(_WholeAndParts):
    """Makes ``whole`` of ``parts``."""

    __slots__ = ()

    @property
    def consumes(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts

    @property
    def produces(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)


class Parting(_WholeAndParts):
    """Makes ``parts`` of ``whole``."""

    __slots__ = ()

    @property
    def consumes(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts


class Coming:
    """Makes ``key`` of nothing that goes."""

    __slots__ = ()
    key: str

    @property
    def consumes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def produces(self) -> tuple[str, ...]:
        """The new key."""
        return (self.key,)


def irreversible(op: object, why: str) -> InvalidMigrationError:
    """Return the error of an operation that cannot be undone."""
    return InvalidMigrationError(f"{type(op).__name__}", [f"cannot be undone: {why}"])


def check_fields(op: object, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """Check that both sides name the same fields.

    Raises:
        InvalidMigrationError: they do not, so one side cannot be filled from the other.
    """
    sides = [{name for text in side for name in KeyTemplate(text).names} for side in (old, new)]
    if sides[0] != sides[1]:
        problem = f"the fields {sorted(sides[0])} and {sorted(sides[1])} differ between what goes in and what comes out"
        raise InvalidMigrationError(type(op).__name__, [problem])
