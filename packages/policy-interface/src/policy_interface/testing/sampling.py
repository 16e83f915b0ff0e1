"""Seeded observations and actions drawn from game rules alone.

The draw is part of the contract: the same rules and seed give the same tensors in every version of this package, on
CPU, so that a probe can be named by its seed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from policy_interface.actions import ContinuousActions, DiscreteActions
from policy_interface.game_rules import GameRules
from policy_interface.observations import DictLayout, Feature, ImageLayout, TokenLayout


def sample_observation(rules: GameRules, batch_size: int, generator: Generator) -> Tensor | Mapping[str, Tensor]:
    """Draw observations: within bounds where a feature has them, else normal with the feature's scale as deviation.

    Args:
        rules: whose features and layout to follow.
        batch_size: the first axis.
        generator: a CPU generator; it is advanced.

    Returns:
        One tensor, or a mapping by feature name for a dict layout, as the layout's docstring says.
    """
    if isinstance(rules.layout, DictLayout):
        return {feature.name: _draw(feature, batch_size, generator) for feature in rules.features}
    if isinstance(rules.layout, ImageLayout):
        return _draw(rules.features[0], batch_size, generator)
    if isinstance(rules.layout, TokenLayout):
        return _draw_tokens(rules, rules.layout, batch_size, generator)
    columns = [_draw(feature, batch_size, generator).reshape(batch_size, -1).float() for feature in rules.features]
    return torch.cat(columns, dim=1)


def sample_actions(rules: GameRules, batch_size: int, generator: Generator) -> Tensor:
    """Draw uniform actions (continuous: within the bounds, an open side ends 1 away from the other, or from 0)."""
    actions = rules.actions
    if isinstance(actions, DiscreteActions):
        return torch.randint(len(actions.choices), (batch_size,), generator=generator)
    if isinstance(actions, ContinuousActions):
        columns = []
        for dimension in actions.dimensions:
            low, high = _ends(dimension.low, dimension.high, 1.0)
            columns.append(low + (high - low) * torch.rand(batch_size, generator=generator))
        return torch.stack(columns, dim=1)
    columns = [torch.randint(len(axis.choices), (batch_size,), generator=generator) for axis in actions.axes]
    return torch.stack(columns, dim=1)


def _ends(low: float | None, high: float | None, reach: float) -> tuple[float, float]:
    if low is None and high is None:
        return -reach, reach
    if low is None:
        assert high is not None
        return high - reach, high
    return low, low + reach if high is None else high


def _draw(feature: Feature, batch_size: int, generator: Generator) -> Tensor:
    shape = (batch_size, *feature.shape)
    dtype: torch.dtype = getattr(torch, feature.dtype)
    if dtype == torch.bool:
        return torch.randint(2, shape, generator=generator).bool()
    if not dtype.is_floating_point:
        low, high = _integer_ends(feature, torch.iinfo(dtype))
        return torch.randint(low, high + 1, shape, generator=generator).to(dtype)
    if feature.low is None and feature.high is None:
        drawn = feature.scale * torch.randn(shape, generator=generator)
    else:
        low_end, high_end = _ends(feature.low, feature.high, feature.scale)
        drawn = low_end + (high_end - low_end) * torch.rand(shape, generator=generator)
    limit = min(torch.finfo(dtype).max, torch.finfo(drawn.dtype).max)  # float16 would turn a large value into infinity
    return drawn.clamp(-limit, limit).to(dtype)


def _integer_ends(feature: Feature, information: torch.iinfo) -> tuple[int, int]:
    smallest, largest = information.min, min(information.max, 2**62)  # randint's end is exclusive and int64
    default_low = 0 if feature.high is None or feature.high >= 0 else feature.high - 255
    low = int(min(max(smallest, default_low if feature.low is None else feature.low), largest))
    high = low + 255 if feature.high is None else feature.high
    return low, int(max(low, min(largest, high)))


def _draw_tokens(rules: GameRules, layout: TokenLayout, batch_size: int, generator: Generator) -> Tensor:
    """Draw tokens of which about a quarter, at the end of each observation, are absent."""
    shape = (batch_size, layout.tokens)
    rows = torch.randint(layout.height, shape, generator=generator)
    columns = torch.randint(layout.width, shape, generator=generator)
    high, low = (rows, columns) if layout.location == "row_high" else (columns, rows)
    which = torch.randint(len(rules.features), shape, generator=generator)
    ids = torch.tensor([feature.id for feature in rules.features])[which]
    ends = torch.tensor([_integer_ends(feature, torch.iinfo(torch.uint8)) for feature in rules.features])[which]
    low_end, high_end = ends[..., 0], ends[..., 1]
    values = (low_end + torch.rand(shape, generator=generator) * (high_end - low_end + 1)).floor().clamp(max=255)
    tokens = torch.stack([high * 16 + low, ids, values.long()], dim=-1).to(torch.uint8)
    absent = torch.tensor([layout.padding, 0, 0], dtype=torch.uint8)
    tokens[:, layout.tokens - layout.tokens // 4 :] = absent
    return tokens
