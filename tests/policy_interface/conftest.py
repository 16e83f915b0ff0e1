"""Small rules and one small policy that keeps to the contract."""

from __future__ import annotations

import pytest
from policy_interface import DiscreteActions, Feature, GameRules


@pytest.fixture
def rules() -> GameRules:
    """Return vector rules: position (scale 2.4) and a velocity of two numbers; left or right."""
    return GameRules(
        features=(
            Feature(name="position", id=0, scale=2.4),
            Feature(name="velocity", id=1, shape=(2,)),
        ),
        actions=DiscreteActions.of("left", "right"),
    )
