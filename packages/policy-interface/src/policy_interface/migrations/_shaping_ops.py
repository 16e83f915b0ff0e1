"""A tensor keeps its name and takes another shape or element type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from policy_interface.migrations._frame import InPlace, irreversible

ResizePolicy = Literal["repeat", "append"]
"""`repeat`: the one row is said once for every new row. `append`: new rows follow the old ones with a fixed value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(InPlace):
    """Two axes change places.

    Attributes:
        key: template of the keys.
        dims: the two axes.
    """

    key: str
    dims: tuple[int, int] = (0, 1)

    def inverted(self) -> Transpose:
        """Return itself: turning twice is nothing."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(InPlace):
    """The same numbers in the same order under another shape.

    Attributes:
        key: template of the keys.
        old: shape before.
        new: shape after.
    """

    key: str
    old: tuple[int, ...]
    new: tuple[int, ...]

    def inverted(self) -> Reshape:
        """Return the reshape back."""
        return replace(self, old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(InPlace):
    """An axis grows by a named policy; undone, it shrinks again and refuses to lose anything that was learned since.

    Attributes:
        key: template of the keys.
        dim: the axis.
        policy: what the new rows hold.
        by: how many rows `append` adds; negative: takes away.
        value: what `append` writes into them.
        like: for `repeat`: template of a key, with the same fields, whose axis 0 gives the new length; empty when
        `size` does.
        size: for `repeat`: the new length, where it is one number for all; 1 undoes.
        optional: whether it is fine that no key fits.
    """

    key: str
    dim: int
    policy: ResizePolicy
    by: int = 0
    value: float = 0.0
    like: str = ""
    size: int = 0
    optional: bool = False

    def inverted(self) -> Resize:
        """Return the shrinking that refuses to lose what was learned."""
        if self.policy == "append":
            return replace(self, by=-self.by)
        if self.size == 1:
            raise irreversible(self, "it shrank an axis to one row; how long it was is not kept")
        return replace(self, like="", size=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast(InPlace):
    """Numbers take another element type.

    Attributes:
        key: template of the keys.
        old: torch's name of the type before.
        new: torch's name of the type after.
    """

    key: str
    old: str
    new: str

    def inverted(self) -> Cast:
        """Return the cast back; refused where it lost digits."""
        wide = {"float64": 3, "float32": 2, "bfloat16": 1, "float16": 1}
        if wide.get(self.new, 0) <= wide.get(self.old, 0):
            raise irreversible(self, f"{self.old} to {self.new} loses digits")
        return replace(self, old=self.new, new=self.old)
