"""Operations on the tensors of a state dict, as data: what goes in, what comes out, and how it is undone.

Every operation names keys by templates, so one rule covers a list of layers. An operation that no key fits is an
error when it
is applied, unless it says ``optional=True``: a rule that does nothing is a rule that was misread. Nothing here
computes; the
application does, lazily and one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

from policy_interface.migrations.errors import InvalidMigrationError
from policy_interface.migrations.key_template import KeyTemplate

Init = Literal["zeros", "ones"]
"""How an added tensor begins."""

ResizePolicy = Literal["repeat", "append"]
"""`repeat`: the one row is said once for every new row. `append`: new rows follow the old ones with a fixed value."""

Tensors = Mapping[str, Any]
"""Key to tensor; the values are torch tensors, which this package never imports."""


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


def _irreversible(op: object, why: str) -> InvalidMigrationError:
    return InvalidMigrationError(f"{type(op).__name__}", [f"cannot be undone: {why}"])


def _check_fields(op: object, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    sides = [{name for text in side for name in KeyTemplate(text).names} for side in (old, new)]
    if sides[0] != sides[1]:
        problem = f"the fields {sorted(sides[0])} and {sorted(sides[1])} differ between what goes in and what comes out"
        raise InvalidMigrationError(type(op).__name__, [problem])


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
        _check_fields(self, self.consumes, self.produces)

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
        raise _irreversible(self, f"{self.key} was dropped: {self.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
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

    @property
    def consumes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def produces(self) -> tuple[str, ...]:
        """The new key."""
        return (self.key,)

    def inverted(self) -> Drop:
        """Return the drop of what was added."""
        return Drop(key=self.key, reason="added by the revision that is undone", recomputed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
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

    def __post_init__(self) -> None:
        _check_fields(self, self.consumes, self.produces)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts

    @property
    def produces(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)

    def inverted(self) -> Split:
        """Return the split into the same parts."""
        return Split(whole=self.whole, parts=self.parts, dim=self.dim, sizes=self.sizes, optional=self.optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
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

    def __post_init__(self) -> None:
        _check_fields(self, self.consumes, self.produces)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts

    def inverted(self) -> Cat:
        """Return the join of the same parts."""
        return Cat(parts=self.parts, whole=self.whole, dim=self.dim, sizes=self.sizes, optional=self.optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Equal tensors become one with a new axis.

    Attributes:
        parts: templates in order, with the same fields.
        whole: template of the result.
        dim: the new axis.
    """

    parts: tuple[str, ...]
    whole: str
    dim: int = 0

    def __post_init__(self) -> None:
        _check_fields(self, self.consumes, self.produces)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts

    @property
    def produces(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)

    def inverted(self) -> Unstack:
        """Return the unstacking into the same parts."""
        return Unstack(whole=self.whole, parts=self.parts, dim=self.dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstack:
    """A tensor is taken apart along an axis, which is gone afterwards.

    Attributes:
        whole: template of the tensor.
        parts: templates of the parts in order, with the same fields.
        dim: the axis.
    """

    whole: str
    parts: tuple[str, ...]
    dim: int = 0

    def __post_init__(self) -> None:
        _check_fields(self, self.consumes, self.produces)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The whole."""
        return (self.whole,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The parts."""
        return self.parts

    def inverted(self) -> Stack:
        """Return the stack of the same parts."""
        return Stack(parts=self.parts, whole=self.whole, dim=self.dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose:
    """Two axes change places.

    Attributes:
        key: template of the keys.
        dims: the two axes.
    """

    key: str
    dims: tuple[int, int] = (0, 1)

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.key,)

    def inverted(self) -> Transpose:
        """Return itself: turning twice is nothing."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """The same numbers in the same order under another shape.

    Attributes:
        key: template of the keys.
        old: shape before.
        new: shape after.
    """

    key: str
    old: tuple[int, ...]
    new: tuple[int, ...]

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.key,)

    def inverted(self) -> Reshape:
        """Return the reshape back."""
        return replace(self, old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
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

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.key,)

    def inverted(self) -> Resize:
        """Return the shrinking that refuses to lose what was learned."""
        if self.policy == "append":
            return replace(self, by=-self.by)
        if self.size == 1:
            raise _irreversible(self, "it shrank an axis to one row; how long it was is not kept")
        return replace(self, like="", size=1)


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
class Alias:
    """A key begins to share the tensor of another one.

    Attributes:
        key: the new key.
        of: the key whose tensor it shows.
    """

    key: str
    of: str

    @property
    def consumes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def produces(self) -> tuple[str, ...]:
        """The alias."""
        return (self.key,)

    def inverted(self) -> Unalias:
        """Return the removal of the alias."""
        return Unalias(key=self.key, of=self.of, keep=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unalias:
    """A key stops sharing a tensor: it keeps a copy, or goes.

    Attributes:
        key: the alias.
        of: the key that it shares with.
        keep: whether the key stays, with numbers of its own.
    """

    key: str
    of: str
    keep: bool

    @property
    def consumes(self) -> tuple[str, ...]:
        """The alias."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The key, where it stays."""
        return (self.key,) if self.keep else ()

    def inverted(self) -> Alias:
        """Return the sharing; refused for a kept key: the two may have been trained apart."""
        if self.keep:
            raise _irreversible(self, f"{self.key} and {self.of} may have been trained apart since")
        return Alias(key=self.key, of=self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Numbers take another element type.

    Attributes:
        key: template of the keys.
        old: torch's name of the type before.
        new: torch's name of the type after.
    """

    key: str
    old: str
    new: str

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.key,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.key,)

    def inverted(self) -> Cast:
        """Return the cast back; refused where it lost digits."""
        wide = {"float64": 3, "float32": 2, "bfloat16": 1, "float16": 1}
        if wide.get(self.new, 0) <= wide.get(self.old, 0):
            raise _irreversible(self, f"{self.old} to {self.new} loses digits")
        return replace(self, old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Whatever the other operations cannot say: a function of model code on named tensors.

    Attributes:
        name: what it does, in words.
        keys: template of the keys it changes in place (one tensor in, one out).
        apply: takes the tensor and the config document, returns the new tensor.
        undo: the same the other way; None when it cannot be undone.
        linear: whether it may be applied to an optimizer's slots too: true for moving numbers about, false for
        changing them.
    """

    name: str
    keys: str
    apply: Callable[[Any, Mapping[str, Any]], Any]
    undo: Callable[[Any, Mapping[str, Any]], Any] | None
    linear: bool = False

    @property
    def consumes(self) -> tuple[str, ...]:
        """The keys."""
        return (self.keys,)

    @property
    def produces(self) -> tuple[str, ...]:
        """The same keys."""
        return (self.keys,)

    def inverted(self) -> Function:
        """Return the function's own inverse."""
        if self.undo is None:
            raise _irreversible(self, f"{self.name} has no inverse")
        return replace(self, apply=self.undo, undo=self.apply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """An open question of a draft: a person replaces it by an operation. A revision that holds one is never applied.

    Attributes:
        key: the new key.
        candidates: old keys that could be meant.
        evidence: what is known, one sentence each.
    """

    key: str
    candidates: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    @property
    def consumes(self) -> tuple[str, ...]:
        """Nothing yet."""
        return ()

    @property
    def produces(self) -> tuple[str, ...]:
        """The new key."""
        return (self.key,)

    def inverted(self) -> TensorOp:
        """Refuse: nothing is decided."""
        raise _irreversible(self, f"{self.key} is not decided")
