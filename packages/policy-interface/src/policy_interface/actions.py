"""Actions by name: what a policy may choose from.

An action's id is its position in the policy's output; its name is what stays the same when ids are renumbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policy_interface.config import Config


def _check_ids(what: str, ids: Sequence[int], names: Sequence[str]) -> None:
    if list(ids) != list(range(len(ids))):
        raise ValueError(f"ids of {what} must be 0..{len(ids) - 1} in order, got {list(ids)}")
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if doubled:
        raise ValueError(f"names of {what} must be unique, doubled: {', '.join(doubled)}")


class Action(Config):
    """One named choice. Its id is the index of its logit."""

    name: str = Field(min_length=1)
    id: int = Field(ge=0)


class DiscreteActions(Config):
    """One choice out of n. An action is int64 [batch], the id of the choice; logits are float [batch, n]."""

    kind: Literal["discrete"] = "discrete"
    choices: tuple[Action, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ids("actions", [a.id for a in self.choices], [a.name for a in self.choices])
        return self

    @classmethod
    def of(cls, *names: str) -> Self:
        """Return actions with these names, numbered in the given order."""
        return cls(choices=tuple(Action(name=name, id=i) for i, name in enumerate(names)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names in id order."""
        return tuple(action.name for action in self.choices)

    @property
    def logit_count(self) -> int:
        """The width of the logits."""
        return len(self.choices)


class ActionAxis(Config):
    """One axis of a multi-discrete action: a name and its own choices."""

    name: str = Field(min_length=1)
    id: int = Field(ge=0)
    choices: tuple[Action, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ids(f"choices of axis {self.name!r}", [a.id for a in self.choices], [a.name for a in self.choices])
        return self


class MultiDiscreteActions(Config):
    """One choice per axis. An action is int64 [batch, axis]; logits are the axes' own, side by side in axis order."""

    kind: Literal["multi_discrete"] = "multi_discrete"
    axes: tuple[ActionAxis, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ids("axes", [axis.id for axis in self.axes], [axis.name for axis in self.axes])
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the axes in id order."""
        return tuple(axis.name for axis in self.axes)

    @property
    def logit_count(self) -> int:
        """The width of the logits: the sum over the axes."""
        return sum(len(axis.choices) for axis in self.axes)


class ContinuousDimension(Config):
    """One named dimension of a continuous action, with its bounds; None is unbounded."""

    name: str = Field(min_length=1)
    id: int = Field(ge=0)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high} in dimension {self.name!r}")
        return self


class ContinuousActions(Config):
    """A real vector. An action is float32 [batch, dimension], clipped to the bounds by the application; no logits."""

    kind: Literal["continuous"] = "continuous"
    dimensions: tuple[ContinuousDimension, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ids("dimensions", [d.id for d in self.dimensions], [d.name for d in self.dimensions])
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dimensions in id order."""
        return tuple(dimension.name for dimension in self.dimensions)


Actions = Annotated[DiscreteActions | MultiDiscreteActions | ContinuousActions, Field(discriminator="kind")]
"""What a policy may choose from; `kind` tells which."""
