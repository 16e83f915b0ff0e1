"""Observations by name: the features of a game and how they are laid out in a tensor."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policy_interface.config import Config

Dtype = Literal["float32", "float16", "bfloat16", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]
"""A tensor's element type, by torch's name."""


class Feature(Config):
    """One named feature of an observation.

    Attributes:
        name: what stays the same when features are renumbered.
        id: the feature's number: its place in a vector, its byte in a token.
        shape: the axes of one observation of it, without the batch; () is one number.
        dtype: element type.
        scale: a value of 1.0 in the network's eyes: a policy divides by it.
        low: smallest value; None is unbounded.
        high: largest value; None is unbounded.
    """

    name: str = Field(min_length=1)
    id: int = Field(ge=0)
    shape: tuple[Annotated[int, Field(ge=1)], ...] = ()
    dtype: Dtype = "float32"
    scale: float = Field(default=1.0, gt=0)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high} in feature {self.name!r}")
        return self

    @property
    def size(self) -> int:
        """How many numbers one observation of the feature has."""
        return math.prod(self.shape)


class VectorLayout(Config):
    """Features flattened and put side by side in id order: float32 [batch, sum of the features' sizes]."""

    kind: Literal["vector"] = "vector"


class ImageLayout(Config):
    """The one feature of the rules is an image: its dtype [batch, channel, height, width]."""

    kind: Literal["image"] = "image"


class TokenLayout(Config):
    """A set of tokens, each (location, feature id, value): uint8 [batch, token, 3].

    A location is one byte with two coordinates, 4 bits each. A token whose location is `padding` is absent.

    Attributes:
        tokens: how many tokens one observation has, absent ones included.
        height: rows of the window that an agent sees.
        width: columns of it.
        location: which coordinate stands in the high four bits.
        padding: the location byte of an absent token.
    """

    kind: Literal["tokens"] = "tokens"
    tokens: int = Field(ge=1)
    height: int = Field(ge=1, le=16)
    width: int = Field(ge=1, le=16)
    location: Literal["row_high", "column_high"] = "row_high"
    padding: int = Field(default=255, ge=0, le=255)


class DictLayout(Config):
    """A mapping from a feature's name to its tensor: its dtype [batch, *shape]."""

    kind: Literal["dict"] = "dict"


Layout = Annotated[VectorLayout | ImageLayout | TokenLayout | DictLayout, Field(discriminator="kind")]
"""How features are laid out in a tensor; `kind` tells which."""
