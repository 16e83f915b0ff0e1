"""Cross-attention written out: the same arithmetic with and without gradients, eager, compiled and exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Queries ask a set of words, with several heads.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)

    def forward(self, queries: Tensor, words: Tensor, unseen: Tensor) -> Tensor:
        """Return the answers, float32 [batch, query, size].

        Args:
            queries: float32 [batch, query, size].
            words: float32 [batch, word, size].
            unseen: bool [batch, word]; at least one word of every element must be seen.
        """
        asked, keys, values = (
            layer(words_of).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for layer, words_of in ((self.query, queries), (self.key, words), (self.value, words))
        )
        scores = asked @ keys.transpose(-1, -2) / asked.shape[-1] ** 0.5
        weights = torch.softmax(scores.masked_fill(unseen[:, None, None, :], float("-inf")), dim=-1)
        answers: Tensor = self.output((weights @ values).transpose(1, 2).flatten(2))
        return answers
