"""Blueprints: the networks that a seed can grow into. Each keeps the shape of its input.

A blueprint's output is a correction: it is added to the host's features, times alpha.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

BlueprintName = Literal["depthwise", "bottleneck", "squeeze"]
"""depthwise: a separable convolution. bottleneck: 1x1 down, 3x3, 1x1 up. squeeze: one gate per channel."""


def make_blueprint(name: BlueprintName, channels: int, width: int) -> nn.Module:
    """Return a fresh network, float32 [batch, channels, height, width] in and out; `width` is its inner one."""
    if name == "depthwise":
        return nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )
    if name == "bottleneck":
        return nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )
    return SqueezeGate(channels, width)


class SqueezeGate(nn.Module):
    """Weighs each channel by what the whole image shows of all channels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, each channel times a number in (-1, 1)."""
        gate = torch.tanh(self.excite(torch.relu(self.squeeze(features.mean(dim=(2, 3))))))
        return features * gate[:, :, None, None]
