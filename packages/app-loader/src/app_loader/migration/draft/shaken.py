"""Shake the weights of a policy, so that what it does tells every weight from every other.

The weights of a checkpoint hide differences: biases that are all zero, scales that are all one, a last layer that
begins as nothing and silences what comes before it. Two codes that compute the same do so with any weights; with
shaken ones an exchange shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SHARE = 0.25
"""By how much of itself a number moves at most."""


def shake(tensors: Mapping[str, Tensor], *, buffers: frozenset[str], seed: int = 0) -> dict[str, Tensor]:
    """Return copies with other numbers, each in a storage of its own; keys that share one tensor share its copy.

    Args:
        tensors: by key, as an archive gives them.
        buffers: keys that are no parameters: they keep their sign where all of them are above zero, for they may be
            variances.
        seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    shaken: dict[int, Tensor] = {}
    for key, tensor in tensors.items():
        if id(tensor) not in shaken:
            shaken[id(tensor)] = _shaken(tensor, key in buffers, generator)
    return {key: shaken[id(tensor)] for key, tensor in tensors.items()}


def _shaken(tensor: Tensor, is_buffer: bool, generator: torch.Generator) -> Tensor:
    if not tensor.dtype.is_floating_point or tensor.numel() == 0 or not bool(tensor.isfinite().all()):
        return tensor.clone()
    values = tensor.float()
    factor = 1 + SHARE * (2 * torch.rand(tensor.shape, generator=generator) - 1)
    if is_buffer and bool((values > 0).all()):
        return values.mul(factor).to(tensor.dtype)
    fan_in = tensor[0].numel() if tensor.dim() > 1 else 16
    spread = float(values.std()) if tensor.numel() > 1 else 0.0
    around = SHARE * torch.randn(tensor.shape, generator=generator) * max(spread, fan_in**-0.5)
    return values.mul(factor).add(around).to(tensor.dtype)
