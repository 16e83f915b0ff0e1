"""Tensors take other names, come and go; no number changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from policy_interface.migrations._frame import Coming, TensorOp, check_fields, irreversible
from policy_interface.migrations.errors import InvalidMigrationError

Init = Literal["zeros", "ones"]
"""How an added tensor begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A key, or every key that fits a template, takes another name.

    Attributes:
        old: template of the old keys.
        new: template of the new keys, with the same fields.
        optional: whether it is fine that no key fits.
    """

    old: str
    new: str
    optional: bool = False

    def __post_init__(self) -> None:
        check_fields(self, self.consumes, self.produces)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The old name."""
        return (self.old,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The new name."""
        return (self.new,)

    def inverted(self) -> Rename:
        """Return the rename the other way."""
        return replace(self, old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindex:
    """Elements of a numbered list take other numbers; elements that are not named keep theirs.

    Attributes:
        path: template of the list's path, as in ``encoder.blocks``.
        numbers: old number to new number, as pairs.
    """

    path: str
    numbers: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        for place in (0, 1):
            side = [pair[place] for pair in self.numbers]
            if len(set(side)) != len(side):
                raise InvalidMigrationError("Reindex", [f"{self.path}: a number stands twice in {side}"])

    @property
    def consumes(self) -> tuple[str, ...]:
        """Everything below the list."""
        return (self.path + ".{_number:int}.{_rest...}",)

    @property
    def produces(self) -> tuple[str, ...]:
        """Everything below the list."""
        return self.consumes

    def inverted(self) -> Reindex:
        """Return the numbers turned around."""
        return replace(self, numbers=tuple((new, old) for old, new in self.numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A tensor goes.

    Attributes:
        key: template of the keys.
        reason: why nothing is lost, or what is.
        recomputed: whether the code computes it anew (a mask, an index table): then nothing is lost.
        optional: whether it is fine that no key fits.
    """

    key: str
    reason: str
    recomputed: bool = False
    optional: bool = False

    @property
    def consumes(self) -> tuple[str, ...]:
        """The dropped keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def inverted(self) -> TensorOp:
        """Refuse: a dropped tensor does not come back."""
        raise irreversible(self, f"{self.key} was dropped: {self.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Coming):
    """A tensor comes that no old one gives.

    Attributes:
        key: the exact key.
        shape: its shape.
        init: how it begins.
        reason: why that leaves the behaviour as it was, or how it changes it.
        dtype: torch's name of its element type.
        kind: parameter or buffer.
    """

    key: str
    shape: tuple[int, ...]
    init: Init
    reason: str
    dtype: str = "float32"
    kind: Literal["parameter", "buffer"] = "parameter"

    def inverted(self) -> Drop:
        """Return the drop of what was added."""
        return Drop(key=self.key, reason="added by the revision that is undone", recomputed=True)
