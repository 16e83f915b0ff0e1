"""Numbers that keep training finite. They shape no tensor, so they stand in no config."""

LOG_STD_LOW = -5.0
"""Lowest natural logarithm of a continuous action's standard deviation: below it log-probabilities explode."""

LOG_STD_HIGH = 2.0
"""Highest one: above it samples only say where the bounds are."""
