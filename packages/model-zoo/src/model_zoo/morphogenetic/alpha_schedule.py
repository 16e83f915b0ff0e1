"""AlphaSchedule: how much of a seed is blended into its host at a training step."""

from __future__ import annotations

import math
from typing import Literal

from policy_interface import ComponentConfig
from pydantic import Field


class AlphaSchedule(ComponentConfig):
    """From 0 at the step where blending begins to 1 after `steps`.

    Attributes:
        curve: the way between.
        steps: training steps that blending takes.
    """

    curve: Literal["linear", "cosine", "sigmoid"] = "sigmoid"
    steps: int = Field(default=100, ge=1)

    def alpha_at(self, elapsed_steps: int) -> float:
        """Return alpha in [0, 1] for the steps since blending began."""
        progress = min(max(elapsed_steps / self.steps, 0.0), 1.0)
        if self.curve == "linear" or progress in (0.0, 1.0):
            return progress
        if self.curve == "cosine":
            return (1 - math.cos(math.pi * progress)) / 2
        return 1 / (1 + math.exp(-12 * (progress - 0.5)))
