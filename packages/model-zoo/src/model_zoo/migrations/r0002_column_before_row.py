"""A token's column stands before its row: a change that no key, no shape and no config shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from policy_interface.migrations import Function, Revision
from torch import Tensor


def swap_coordinates(weight: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Return the input columns with those of row and column exchanged; exchanging twice is nothing.

    Args:
        weight: float32 [token_size, embedding_size + 4 * coordinate_bands + 1].
        config: of a token_recurrent, with its encoder.
    """
    encoder = config["encoder"]
    waves = 2 * encoder["coordinate_bands"]
    feature, first, second, value = torch.split(weight, [encoder["embedding_size"], waves, waves, 1], dim=1)
    return torch.cat([feature, second, first, value], dim=1)


REVISION = Revision(
    id="r0002_column_before_row",
    parents=("r0001_name_towers",),
    since="0.2.0",
    kinds=("token_recurrent",),
    summary="The encoder is given column waves before row waves, so the columns of its first layer change places.",
    tensors=(
        Function(
            name="exchange the columns of row and column",
            keys="encoder.project.weight",
            apply=swap_coordinates,
            undo=swap_coordinates,
            linear=True,
        ),
    ),
    reviewed=True,
)
