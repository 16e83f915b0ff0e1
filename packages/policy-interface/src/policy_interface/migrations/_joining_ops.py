"""Several tensors become one along an axis, and one becomes several."""

from __future__ import annotations

from dataclasses import dataclass

from policy_interface.migrations._frame import Joining, Parting


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat(Joining):
    """Several tensors are joined along an axis.

    Attributes:
        parts: templates in joining order, with the same fields.
        whole: template of the result.
        dim: the axis.
        sizes: length of every part along the axis, for undoing; empty: equal parts.
        optional: whether it is fine that no key fits.
    """

    parts: tuple[str, ...]
    whole: str
    dim: int = 0
    sizes: tuple[int, ...] = ()
    optional: bool = False

    def inverted(self) -> Split:
        """Return the split into the same parts."""
        return Split(whole=self.whole, parts=self.parts, dim=self.dim, sizes=self.sizes, optional=self.optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Parting):
    """A tensor is cut along an axis.

    Attributes:
        whole: template of the tensor.
        parts: templates of the parts in order, with the same fields.
        dim: the axis.
        sizes: length of every part along the axis; empty: equal parts.
        optional: whether it is fine that no key fits.
    """

    whole: str
    parts: tuple[str, ...]
    dim: int = 0
    sizes: tuple[int, ...] = ()
    optional: bool = False

    def inverted(self) -> Cat:
        """Return the join of the same parts."""
        return Cat(parts=self.parts, whole=self.whole, dim=self.dim, sizes=self.sizes, optional=self.optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(Joining):
    """Equal tensors become one with a new axis.

    Attributes:
        parts: templates in order, with the same fields.
        whole: template of the result.
        dim: the new axis.
    """

    parts: tuple[str, ...]
    whole: str
    dim: int = 0

    def inverted(self) -> Unstack:
        """Return the unstacking into the same parts."""
        return Unstack(whole=self.whole, parts=self.parts, dim=self.dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstack(Parting):
    """A tensor is taken apart along an axis, which is gone afterwards.

    Attributes:
        whole: template of the tensor.
        parts: templates of the parts in order, with the same fields.
        dim: the axis.
    """

    whole: str
    parts: tuple[str, ...]
    dim: int = 0

    def inverted(self) -> Stack:
        """Return the stack of the same parts."""
        return Stack(parts=self.parts, whole=self.whole, dim=self.dim)
