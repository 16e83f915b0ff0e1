"""morphogenetic: the architecture of a convolutional host with seed slots.

Which slots hold a seed, and of which blueprint, is part of the config, because it decides which tensors exist. A live
policy keeps `policy.architecture` in step with its seeds, so that what is saved rebuilds what is alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from policy_interface import GameRules, PolicyArchitecture

from model_zoo._derive import action_size, fill_derived, refuse_layout
from model_zoo.morphogenetic.slot_config import SLOT_NAMES, SlotConfig

if TYPE_CHECKING:
    from model_zoo.morphogenetic.policy import MorphogeneticPolicy


class MorphogeneticArchitecture(PolicyArchitecture):
    """Three blocks of convolution, each followed by a slot; global average; two heads.

    Attributes:
        channels: of the three blocks.
        early: the slot behind the first block.
        mid: behind the second.
        late: behind the third.
        image_shape: derived: channels, height, width of an observation.
        action_size: derived: outputs of the action head.
    """

    kind: ClassVar[str] = "morphogenetic"
    schema_version: ClassVar[int] = 1

    channels: tuple[int, int, int] = (16, 32, 48)
    early: SlotConfig = SlotConfig()
    mid: SlotConfig = SlotConfig()
    late: SlotConfig = SlotConfig()
    image_shape: tuple[int, int, int] | None = None
    action_size: int | None = None

    def slot(self, name: str) -> SlotConfig:
        """Return the config of the slot ``early``, ``mid`` or ``late``."""
        return {"early": self.early, "mid": self.mid, "late": self.late}[name]

    def resolve(self, rules: GameRules) -> MorphogeneticArchitecture:
        """Return the config with the image's shape, the slots' channels and the action's size.

        Raises:
            InvalidConfigError: no image layout, or another size already.
        """
        refuse_layout(self.kind, rules, "image")
        channels, height, width = rules.features[0].shape
        slots = {
            name: fill_derived(self.slot(name), {"channels": self.channels[i]}) for i, name in enumerate(SLOT_NAMES)
        }
        derived = {"image_shape": (channels, height, width), "action_size": action_size(rules)}
        resolved = fill_derived(self, derived)
        return type(self).model_construct(_fields_set=set(self.model_fields_set), **{**dict(resolved), **slots})

    def make_policy(self, rules: GameRules) -> MorphogeneticPolicy:
        """Build the policy; a slot with a blueprint holds a seed that has just germinated."""
        from model_zoo.morphogenetic.policy import MorphogeneticPolicy

        return MorphogeneticPolicy(self.resolve(rules), rules)
