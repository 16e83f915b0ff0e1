"""GameRules: the third thing that makes a policy, beside its architecture and its weights."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from policy_interface.actions import Actions
from policy_interface.comparison import RulesComparison, compare_rules
from policy_interface.config import Config
from policy_interface.observations import Feature, ImageLayout, Layout, TokenLayout, VectorLayout


class GameRules(Config):
    """What a policy sees and what it may do, by name.

    Attributes:
        features: the observation's features, in id order. Ids may be renumbered from one release of a game to the
            next, names are stable.
        layout: how the features are laid out in the observation tensor.
        actions: what the policy may choose from.
        agents: how many agents one environment has.
        tags: free names that go with the rules (an environment's id, object tags), in order.
    """

    features: tuple[Feature, ...] = Field(min_length=1)
    layout: Layout = VectorLayout()
    actions: Actions
    agents: int = Field(default=1, ge=1)
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in (
            ("names", [feature.name for feature in self.features]),
            ("ids", [feature.id for feature in self.features]),
        ):
            doubled = [str(value) for value, count in Counter(values).items() if count > 1]
            if doubled:
                raise ValueError(f"{what} of features must be unique, doubled: {', '.join(doubled)}")
        if [f.id for f in self.features] != sorted(f.id for f in self.features):
            raise ValueError("features must stand in id order")
        if isinstance(self.layout, ImageLayout) and (len(self.features) != 1 or len(self.features[0].shape) != 3):
            raise ValueError("an image layout needs exactly one feature of shape (channel, height, width)")
        if isinstance(self.layout, TokenLayout):
            wrong = [f.name for f in self.features if f.id > 255 or f.shape != ()]
            if wrong:
                raise ValueError(f"a token's feature is one number with an id below 256, unlike: {', '.join(wrong)}")
        return self

    @property
    def observation_size(self) -> int:
        """How many numbers all features have together: the width of a vector observation."""
        return sum(feature.size for feature in self.features)

    def find_feature(self, name: str) -> Feature | None:
        """Return the feature of that name, or None."""
        return next((feature for feature in self.features if feature.name == name), None)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the canonical JSON: equal fingerprints, equal rules."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def compare(self, current: GameRules) -> RulesComparison:
        """Return what differs, by name, between these (the old) rules and the current ones."""
        return compare_rules(self, current)
