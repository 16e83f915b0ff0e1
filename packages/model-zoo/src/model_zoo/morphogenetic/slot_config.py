"""SlotConfig: what stands behind one block of the host."""

from __future__ import annotations

from policy_interface import ComponentConfig
from pydantic import Field

from model_zoo.morphogenetic.alpha_schedule import AlphaSchedule
from model_zoo.morphogenetic.blueprints import BlueprintName

SLOT_NAMES = ("early", "mid", "late")
"""One slot behind each of the host's three blocks."""


class SlotConfig(ComponentConfig):
    """One slot.

    Attributes:
        blueprint: what grows there; None is a dormant slot.
        width: inner width of the blueprint.
        alpha_schedule: of a seed that will be blended.
        channels: derived: channels of the host's block before the slot.
    """

    blueprint: BlueprintName | None = None
    width: int = Field(default=8, ge=1)
    alpha_schedule: AlphaSchedule = AlphaSchedule()
    channels: int | None = None
