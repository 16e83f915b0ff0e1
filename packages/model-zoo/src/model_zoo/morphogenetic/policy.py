"""MorphogeneticPolicy: a convolutional host that grows networks into itself while it trains.

The life of a seed is the trainer's decision; this module only carries it out, and keeps `architecture` true:
``germinate`` -> ``enter(TRAINING)`` -> ``enter(BLENDING)`` -> ``set_step`` ... -> ``enter(HOLDING)`` ->
``enter(FOSSILISED)``, or ``enter(DORMANT)`` to cull it.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING

from policy_interface import GameRules, InvalidConfigError, Problem, State, TrainingSpec
from policy_interface.policy import Observation
from policy_interface.training import derive_training_spec
from torch import Tensor, nn

from model_zoo._policy import Encoding, ZooPolicy
from model_zoo.morphogenetic.alpha_schedule import AlphaSchedule
from model_zoo.morphogenetic.blueprints import BlueprintName
from model_zoo.morphogenetic.seed_state import SeedStage, SeedState
from model_zoo.morphogenetic.slot import Seed, SeedSlot
from model_zoo.morphogenetic.slot_config import SLOT_NAMES, SlotConfig

if TYPE_CHECKING:
    from model_zoo.morphogenetic.architecture import MorphogeneticArchitecture


class MorphogeneticPolicy(ZooPolicy):
    """Reads an image of the rules' dtype [batch, channel, height, width].

    Attributes:
        architecture: describes the policy as it is now, seeds included.
        slots: by name: ``early``, ``mid``, ``late``.
    """

    architecture: MorphogeneticArchitecture

    def __init__(self, architecture: MorphogeneticArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        widths = (rules.features[0].shape[0], *architecture.channels)
        self.blocks = nn.ModuleList(_block(before, after) for before, after in pairwise(widths))
        self.slots = nn.ModuleDict({name: SeedSlot(architecture.slot(name)) for name in SLOT_NAMES})
        self._add_heads(architecture.channels[-1])

    def encode(self, observation: Observation, state: State) -> Encoding:
        """Return the last block's features, averaged over the image, the same for both heads."""
        assert isinstance(observation, Tensor)
        features = observation.float() / self.rules.features[0].scale
        for block, slot in zip(self.blocks, self.slots.values(), strict=True):
            features = slot(block(features))
        pooled = features.mean(dim=(2, 3))
        return Encoding(pooled, pooled, state)

    @property
    def training_spec(self) -> TrainingSpec:
        """Fossilised seeds are finished: their parameters are frozen."""
        finished = [f"slots.{name}.seed." for name in SLOT_NAMES if self.seed_state(name).stage is SeedStage.FOSSILISED]
        return derive_training_spec(self, frozen_prefixes=tuple(finished))

    def seed_state(self, slot: str) -> SeedState:
        """Return where the seed of a slot is in its life."""
        return self._slot(slot).seed_state

    def germinate(
        self,
        slot: str,
        blueprint: BlueprintName,
        *,
        step: int,
        at: datetime | None = None,
        width: int | None = None,
        alpha_schedule: AlphaSchedule | None = None,
    ) -> Seed:
        """Grow a seed in a dormant slot. It is not felt before it is blended.

        Args:
            slot: ``early``, ``mid`` or ``late``.
            blueprint: what it grows into.
            step: the training step.
            at: the time, with its zone, for the history.
            width: inner width of the blueprint; None keeps the slot's.
            alpha_schedule: of its blending; None keeps the slot's.

        Returns:
            The seed, whose parameters an optimizer does not know yet.

        Raises:
            InvalidConfigError: the slot is not dormant, or an argument does not fit the slot's config.
        """
        old = self.architecture.slot(slot)
        config = SlotConfig(
            blueprint=blueprint,
            width=old.width if width is None else width,
            alpha_schedule=alpha_schedule or old.alpha_schedule,
            channels=old.channels,
        )
        state = self.seed_state(slot).enter(SeedStage.GERMINATED, step=step, at=at)
        seed = self._slot(slot).germinate(config, _with_schedule(state, config.alpha_schedule))
        weight = self.value_head.weight
        seed.to(device=weight.device, dtype=weight.dtype).train(self.training)
        self._describe(slot, config)
        return seed

    def enter(self, slot: str, stage: SeedStage, *, step: int, at: datetime | None = None) -> None:
        """Take a seed to its next stage; `SeedStage.DORMANT` culls it.

        Raises:
            InvalidConfigError: the stage does not follow the present one.
        """
        if stage is SeedStage.GERMINATED:
            problem = Problem(path="stage", message="a seed germinates by germinate(slot, blueprint, step=...)")
            raise InvalidConfigError("SeedState", [problem])
        self._slot(slot).follow(self.seed_state(slot).enter(stage, step=step, at=at))
        if stage is SeedStage.DORMANT:
            old = self.architecture.slot(slot)
            self._describe(slot, SlotConfig(width=old.width, alpha_schedule=old.alpha_schedule, channels=old.channels))

    def set_step(self, step: int) -> None:
        """Tell all seeds the training step: the alpha of those being blended follows their schedule."""
        for name in SLOT_NAMES:
            if self.seed_state(name).alive:
                self._slot(name).follow(self.seed_state(name).at_step(step))

    def _slot(self, name: str) -> SeedSlot:
        slot = self.slots[name]
        assert isinstance(slot, SeedSlot)
        return slot

    def _describe(self, slot: str, config: SlotConfig) -> None:
        self.architecture = self.architecture.model_copy(update={slot: config})


def _with_schedule(state: SeedState, schedule: AlphaSchedule) -> SeedState:
    return SeedState(**{**dict(state), "alpha_schedule": schedule})


def _block(before: int, after: int) -> nn.Sequential:
    # Groups of one image and no running statistics: a batch of one acts as it does in a batch.
    norm = nn.GroupNorm(gcd(after, 8), after)
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), norm, nn.ReLU())
