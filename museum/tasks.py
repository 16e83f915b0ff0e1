"""The tasks that the museum's policies learn: small enough to be made anew, real enough to be learned.

Nothing here depends on a version of the zoo: tasks give game rules, observations and right answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from policy_interface import DiscreteActions, Feature, GameRules, ImageLayout, TokenLayout
from torch import Generator, Tensor

PLACES = ("north_west", "north_east", "south_west", "south_east")

IMAGE_RULES = GameRules(
    features=(Feature(name="frame", id=0, shape=(3, 20, 20), dtype="uint8", scale=255.0, low=0, high=255),),
    layout=ImageLayout(),
    actions=DiscreteActions.of(*PLACES),
    tags=("museum/bright-square",),
)
"""A noisy image with one bright square: the right action names the quarter it stands in."""

TOKEN_RULES = GameRules(
    features=(
        Feature(name="agent", id=0, dtype="uint8", scale=10.0),
        Feature(name="wall", id=1, dtype="uint8"),
        Feature(name="heart", id=5, dtype="uint8", scale=100.0),
        Feature(name="energy", id=9, dtype="uint8", scale=255.0),
    ),
    layout=TokenLayout(tokens=16, height=11, width=11),
    actions=DiscreteActions.of("noop", "move_north", "move_south", "move_west", "move_east"),
    tags=("museum/remembered-heart",),
)
"""A heart is seen at the first step and never again: the right action, at every step, goes towards it."""

TOKEN_STEPS = 4
_CENTRE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A batch of sequences with their right answers.

    Attributes:
        rules: the game rules.
        observations: the rules' dtype [step, batch, ...].
        actions: int64 [step, batch], the right ones.
        values: float32 [step, batch], what the value head should say.
    """

    rules: GameRules
    observations: Tensor
    actions: Tensor
    values: Tensor


def bright_square(batch_size: int, generator: Generator, steps: int = 1) -> Task:
    """Draw images; the value is the square's brightness, in [0.5, 1]."""
    shape = (steps, batch_size)
    images = torch.randint(0, 100, (*shape, 3, 20, 20), generator=generator, dtype=torch.uint8)
    quarter = torch.randint(4, shape, generator=generator)
    brightness = torch.randint(128, 256, shape, generator=generator)
    offsets = torch.randint(0, 5, (2, *shape), generator=generator)
    for step in range(steps):
        for i in range(batch_size):
            row = int(quarter[step, i]) // 2 * 10 + int(offsets[0, step, i])
            column = int(quarter[step, i]) % 2 * 10 + int(offsets[1, step, i])
            images[step, i, :, row : row + 5, column : column + 5] = int(brightness[step, i])
    return Task(rules=IMAGE_RULES, observations=images, actions=quarter, values=brightness / 255)


def remembered_heart(batch_size: int, generator: Generator) -> Task:
    """Draw token sets; the value is how near the heart is, in [0, 1]."""
    layout = TOKEN_RULES.layout
    assert isinstance(layout, TokenLayout)
    tokens = torch.zeros(TOKEN_STEPS, batch_size, layout.tokens, 3, dtype=torch.uint8)
    tokens[..., 0] = layout.padding
    places = torch.randint(11, (TOKEN_STEPS, batch_size, 8, 2), generator=generator)
    tokens[:, :, :8, 0] = (places[..., 0] * 16 + places[..., 1]).to(torch.uint8)
    tokens[:, :, :8, 1] = 1
    tokens[:, :, :8, 2] = 1
    agent = torch.tensor([_CENTRE * 16 + _CENTRE, 0, 3], dtype=torch.uint8)
    tokens[:, :, 8] = agent
    energy = torch.randint(1, 256, (TOKEN_STEPS, batch_size), generator=generator, dtype=torch.uint8)
    tokens[:, :, 9, 0], tokens[:, :, 9, 1], tokens[:, :, 9, 2] = agent[0], 9, energy
    heart = torch.randint(11, (batch_size, 2), generator=generator)
    tokens[0, :, 10, 0] = (heart[:, 0] * 16 + heart[:, 1]).to(torch.uint8)
    tokens[0, :, 10, 1], tokens[0, :, 10, 2] = 5, 100
    order = torch.randperm(layout.tokens, generator=generator)
    away = heart - _CENTRE
    vertical = torch.where(away[:, 0] < 0, 1, 2)
    horizontal = torch.where(away[:, 1] < 0, 3, 4)
    action = torch.where(away[:, 0].abs() >= away[:, 1].abs(), vertical, horizontal)
    action = torch.where(away.abs().sum(dim=1) == 0, 0, action)
    near = 1 - away.abs().sum(dim=1) / 10
    return Task(
        rules=TOKEN_RULES,
        observations=tokens[:, :, order],
        actions=action.expand(TOKEN_STEPS, -1),
        values=near.expand(TOKEN_STEPS, -1),
    )
