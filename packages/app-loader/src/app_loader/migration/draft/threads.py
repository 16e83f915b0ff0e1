"""How many threads a trial takes: thousands of runs of a small policy cost mostly the meeting of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_BYTES = 16 << 20
"""Up to this many bytes of weights a policy acts faster on one thread than on several."""


@contextmanager
def one_thread_for(weight_bytes: int) -> Iterator[None]:
    """Let torch use one thread for a small policy, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if weight_bytes <= SMALL_BYTES else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
