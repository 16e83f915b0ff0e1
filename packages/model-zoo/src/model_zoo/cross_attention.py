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
        self.qkv = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)

    def forward(self, queries: Tensor, words: Tensor, unseen: Tensor) -> Tensor:
        """Return the answers, float32 [batch, query, size].

        Args:
            queries: float32 [batch, query, size].
            words: float32 [batch, word, size].
            unseen: bool [batch, word]; at least one word of every element must be seen.
        """
        size = queries.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        asked = nn.functional.linear(queries, weight[:size], bias[:size])
        known = nn.functional.linear(words, weight[size:], bias[size:])  # key and value in one product
        asked, keys, values = (
            torch.unflatten(part, -1, (self._heads, -1)).transpose(1, 2) for part in (asked, *known.chunk(2, dim=-1))
        )
        scores = asked @ keys.transpose(-1, -2) / asked.shape[-1] ** 0.5
        weights = torch.softmax(scores.masked_fill(unseen[:, None, None, :], float("-inf")), dim=-1)
        answers: Tensor = self.output((weights @ values).transpose(1, 2).flatten(2))
        return answers
