"""What a head's output means: three families of action distributions with one set of methods.

Written here and not taken from ``torch.distributions``: sampling follows a given generator, and nothing branches on
data, so that a policy compiles and exports whole.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Generator, Tensor


class ActionDistribution(Protocol):
    """A batch of independent distributions over actions."""

    @property
    def logits(self) -> Tensor | None:
        """Unnormalised log-probabilities of the choices [batch, logit]; None for a density."""

    def mode(self) -> Tensor:
        """Return the most probable actions (a normal's mean)."""

    def sample(self, generator: Generator | None) -> Tensor:
        """Return drawn actions."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the natural logarithm of the probability (density) of these actions, [batch]."""

    def entropy(self) -> Tensor:
        """Return the entropy in nats, [batch]."""


class Categorical:
    """One choice out of n: logits [batch, n], actions int64 [batch]."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self._log_probs = torch.log_softmax(logits, dim=-1)

    def mode(self) -> Tensor:
        """Return the choice with the largest logit, the first of equals."""
        return self.logits.argmax(dim=-1)

    def sample(self, generator: Generator | None) -> Tensor:
        """Return drawn choices."""
        return torch.multinomial(self._log_probs.exp(), 1, generator=generator).squeeze(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return log p(action), [batch]."""
        return self._log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy in nats, [batch]."""
        return -(self._log_probs.exp() * self._log_probs).sum(dim=-1)


class MultiCategorical:
    """One choice per axis, the axes independent: logits side by side [batch, sum(sizes)], actions [batch, axis]."""

    def __init__(self, logits: Tensor, sizes: tuple[int, ...]) -> None:
        self.logits = logits
        self._axes = [Categorical(part) for part in torch.split(logits, list(sizes), dim=-1)]

    def mode(self) -> Tensor:
        """Return each axis' most probable choice."""
        return torch.stack([axis.mode() for axis in self._axes], dim=-1)

    def sample(self, generator: Generator | None) -> Tensor:
        """Return drawn choices, axis after axis."""
        return torch.stack([axis.sample(generator) for axis in self._axes], dim=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the sum of the axes' log p, [batch]."""
        parts = [axis.log_prob(action[..., i]) for i, axis in enumerate(self._axes)]
        return torch.stack(parts, dim=-1).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Return the sum of the axes' entropies, [batch]."""
        return torch.stack([axis.entropy() for axis in self._axes], dim=-1).sum(dim=-1)


class DiagonalNormal:
    """Independent normals: mean and natural logarithm of the deviation, both [batch, dimension]; actions float32."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.logits = None
        self._mean = mean
        self._log_std = log_std

    def mode(self) -> Tensor:
        """Return the mean."""
        return self._mean

    def sample(self, generator: Generator | None) -> Tensor:
        """Return mean + deviation x standard normal noise."""
        noise = torch.randn(self._mean.shape, generator=generator, device=self._mean.device, dtype=self._mean.dtype)
        return self._mean + self._log_std.exp() * noise

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the sum over dimensions of the log density, [batch]."""
        distance = (action - self._mean) * torch.exp(-self._log_std)
        return (-0.5 * distance.square() - self._log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Return the sum over dimensions of log deviation + (1 + log 2 pi) / 2, [batch]."""
        return (self._log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(dim=-1)
