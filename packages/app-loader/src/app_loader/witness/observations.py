"""What a policy is shown when nobody says what it should see: drawn from its rules with a seed.

Most of it is ordinary. Some of it is extreme - every number at one of its ends, or far out where it has none - because
a clipped, saturated or rescaled input shows there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from policy_interface import Feature, GameRules, ImageLayout, TokenLayout
from policy_interface.testing import sample_observation

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch import Generator, Tensor

STEPS = 4
BATCH = 4
"""How many different observations are drawn when nobody says how many."""
FAR = 8.0
"""How many of its scales an unbounded number is pushed out."""


def draw_observations(
    rules: GameRules, *, seed: int, steps: int = STEPS, batch: int = BATCH, extreme_steps: int = 0
) -> Observation:
    """Draw observations with leading axes [step, batch] from the rules alone.

    Args:
        rules: what to follow.
        seed: of the draw.
        steps: the first axis.
        batch: the second axis.
        extreme_steps: how many steps, at the end, show extreme values.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [sample_observation(rules, batch, generator) for _ in range(steps)]
    for step in range(steps - extreme_steps, steps):
        drawn[step] = _pushed(rules, drawn[step], generator)
    if isinstance(drawn[0], Mapping):
        return {name: torch.stack([step[name] for step in drawn]) for name in drawn[0]}  # type: ignore[index]
    return torch.stack(drawn)  # type: ignore[arg-type]


def _pushed(rules: GameRules, drawn: Observation, generator: Generator) -> Observation:
    if isinstance(drawn, Mapping):
        return {feature.name: _ends(feature, drawn[feature.name], generator) for feature in rules.features}
    if isinstance(rules.layout, ImageLayout):
        return _ends(rules.features[0], drawn, generator)
    if isinstance(rules.layout, TokenLayout):
        return _pushed_tokens(rules, rules.layout.padding, drawn, generator)
    parts = torch.split(drawn, [feature.size for feature in rules.features], dim=1)
    return torch.cat([_ends(f, part, generator) for f, part in zip(rules.features, parts, strict=True)], dim=1)


def _pushed_tokens(rules: GameRules, padding: int, drawn: Tensor, generator: Generator) -> Tensor:
    """Push the values alone: a place and a feature id are names and have no ends. An absent token stays as it is."""
    ends = torch.zeros(2, 256, dtype=torch.uint8)
    for feature in rules.features:
        ends[0, feature.id] = min(max(int(feature.low or 0), 0), 255)
        ends[1, feature.id] = 255 if feature.high is None else min(max(int(feature.high), 0), 255)
    low, high = ends[:, drawn[..., 1].long()]
    value = torch.where(_coin(low, generator), high, low)
    value = torch.where(drawn[..., 0] == padding, drawn[..., 2], value)
    return torch.cat([drawn[..., :2], value.unsqueeze(-1)], dim=-1)


def _ends(feature: Feature, drawn: Tensor, generator: Generator) -> Tensor:
    if drawn.dtype == torch.bool:
        return drawn
    is_whole = not getattr(torch, feature.dtype).is_floating_point  # it may be an index, also in a vector of floats
    far = drawn.double() * (1.0 if is_whole else FAR)
    low = far if feature.low is None else torch.full_like(far, feature.low)
    high = far if feature.high is None else torch.full_like(far, feature.high)
    wide = torch.finfo(drawn.dtype) if drawn.dtype.is_floating_point else torch.iinfo(drawn.dtype)
    return torch.where(_coin(drawn, generator), high, low).clamp(float(wide.min), float(wide.max)).to(drawn.dtype)


def _coin(like: Tensor, generator: Generator) -> Tensor:
    return torch.randint(2, like.shape, generator=generator).bool()
