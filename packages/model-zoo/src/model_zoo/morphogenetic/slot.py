"""SeedSlot: a place behind a host's block where a seed may grow.

The slot's modules exist exactly when a seed does; which seed, the architecture's config says. The stage of life goes
into the checkpoint as extra state, and must agree with what the config built.
"""

from __future__ import annotations

from typing import Any

import torch
from policy_interface import InvalidConfigError, Problem
from torch import Tensor, nn

from model_zoo.morphogenetic.seed_state import SeedStage, SeedState
from model_zoo.morphogenetic.slot_config import SlotConfig


class Seed(nn.Module):
    """A blueprint's network and its gain: how loud it speaks in each channel, learned, small at first."""

    def __init__(self, config: SlotConfig) -> None:
        from model_zoo.morphogenetic.blueprints import make_blueprint

        super().__init__()
        assert config.blueprint is not None and config.channels is not None
        self.network = make_blueprint(config.blueprint, config.channels, config.width)
        self.gain = nn.Parameter(torch.full((config.channels,), 0.1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the correction, float32 as the features [batch, channel, height, width]."""
        correction: Tensor = self.network(features)
        return self.gain.view(1, -1, 1, 1) * correction


class SeedSlot(nn.Module):
    """Passes the host's features on, corrected by the seed as far as its stage says.

    Attributes:
        seed: the seed, or None while the slot is dormant.
        seed_state: where the seed is in its life.
    """

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.seed = None if config.blueprint is None else Seed(config)
        stage = SeedStage.DORMANT if self.seed is None else SeedStage.GERMINATED
        self._take(SeedState(stage=stage, alpha_schedule=config.alpha_schedule))

    def forward(self, features: Tensor) -> Tensor:
        """Return float32 [batch, channel, height, width], as the features."""
        if self.seed is None or self._silent:
            return features
        # Apart, the seed learns from the host's loss and the host does not feel it: what is added is zero.
        correction: Tensor = self.seed(features.detach() if self._apart else features)
        return features + (correction - correction.detach() if self._apart else self._alpha * correction)

    def germinate(self, config: SlotConfig, seed_state: SeedState) -> Seed:
        """Grow a seed as the config says, and return it."""
        self.seed = Seed(config)
        self._take(seed_state)
        return self.seed

    def follow(self, seed_state: SeedState) -> None:
        """Go on to a state of the same seed, or of none: then the seed is gone."""
        if not seed_state.alive:
            self.seed = None
        self._take(seed_state)

    def train(self, mode: bool = True) -> SeedSlot:
        """Set training mode; a fossilised seed stays in evaluation mode, so that its statistics stay, too."""
        super().train(mode)
        if self.seed is not None and self.seed_state.stage is SeedStage.FOSSILISED:
            self.seed.eval()
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return the seed's state as plain JSON data; part of ``state_dict()``."""
        return self.seed_state.to_dict()

    def set_extra_state(self, state: Any) -> None:
        """Take the seed's state from a checkpoint.

        Raises:
            InvalidConfigError: not a seed's state, or one that the built slot contradicts.
        """
        seed_state = SeedState.from_dict(state)
        if seed_state.alive != (self.seed is not None):
            built = "no seed" if self.seed is None else "a seed"
            message = f"the checkpoint says {seed_state.stage}, the architecture's config built {built}"
            raise InvalidConfigError(type(self).__name__, [Problem(path="stage", message=message)])
        self._take(seed_state)

    def _take(self, seed_state: SeedState) -> None:
        self.seed_state = seed_state
        # Plain values for forward: compilers specialise on them and never look into the state.
        self._alpha = seed_state.alpha
        self._silent = seed_state.stage is SeedStage.GERMINATED
        self._apart = seed_state.stage is SeedStage.TRAINING
        if self.seed is not None and seed_state.stage is SeedStage.FOSSILISED:
            self.seed.requires_grad_(False)
            self.seed.eval()
