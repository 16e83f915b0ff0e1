"""The morphogenetic network: a convolutional host with seed slots."""

from __future__ import annotations

from model_zoo.morphogenetic.alpha_schedule import AlphaSchedule
from model_zoo.morphogenetic.architecture import MorphogeneticArchitecture
from model_zoo.morphogenetic.policy import MorphogeneticPolicy
from model_zoo.morphogenetic.seed_state import SeedStage, SeedState, StageChange
from model_zoo.morphogenetic.slot_config import SLOT_NAMES, SlotConfig

__all__ = [
    "SLOT_NAMES",
    "AlphaSchedule",
    "MorphogeneticArchitecture",
    "MorphogeneticPolicy",
    "SeedStage",
    "SeedState",
    "SlotConfig",
    "StageChange",
]
