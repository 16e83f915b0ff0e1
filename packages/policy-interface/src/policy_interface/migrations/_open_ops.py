"""What the other operations cannot say: a function of model code, and a question that a draft leaves to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policy_interface.migrations._frame import Coming, TensorOp, irreversible


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
            raise irreversible(self, f"{self.name} has no inverse")
        return replace(self, apply=self.undo, undo=self.apply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose(Coming):
    """An open question of a draft: a person replaces it by an operation. A revision that holds one is never applied.

    Attributes:
        key: the new key.
        candidates: old keys that could be meant.
        evidence: what is known, one sentence each.
    """

    key: str
    candidates: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    def inverted(self) -> TensorOp:
        """Refuse: nothing is decided."""
        raise irreversible(self, f"{self.key} is not decided")
