"""Every test of the zoo begins with the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Seed torch, and give its generator back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
