"""The token encoder: a set of (location, feature id, value) bytes becomes one vector.

A feature's embedding belongs to its *name*: the table's rows follow the vocabulary in the resolved config, and the ids
of the rules at hand are looked up by name at each call. Ids may be renumbered and scales changed without a new weight.
Pooling is cross-attention from a few learned queries, as in the Perceiver, so that the order of tokens is of no matter.

Source: Jaegle et al., "Perceiver: General Perception with Iterative Attention", 2021.
"""

from __future__ import annotations

import math

import torch
from policy_interface import ComponentConfig, GameRules, TokenLayout
from pydantic import Field
from torch import Tensor, nn

from model_zoo.cross_attention import CrossAttention

_IDS = 256
"""A feature id is one byte."""


class TokenEncoderConfig(ComponentConfig):
    """Sizes of the encoder.

    Attributes:
        embedding_size: numbers that stand for a feature.
        coordinate_bands: sine and cosine pairs per coordinate.
        token_size: width of a token inside the attention.
        queries: how many learned questions are asked of the set.
        attention_heads: into how many parts the attention splits a token.
    """

    embedding_size: int = Field(default=16, ge=1)
    coordinate_bands: int = Field(default=4, ge=1)
    token_size: int = Field(default=64, ge=1)
    queries: int = Field(default=4, ge=1)
    attention_heads: int = Field(default=4, ge=1)

    @property
    def output_size(self) -> int:
        """Width of the encoder's output."""
        return self.queries * self.token_size


class TokenEncoder(nn.Module):
    """From uint8 [batch, token, 3] to float32 [batch, queries * token_size]."""

    def __init__(self, config: TokenEncoderConfig, vocabulary: tuple[str, ...], rules: GameRules) -> None:
        super().__init__()
        assert isinstance(rules.layout, TokenLayout)
        self._layout = rules.layout
        self._rows, self._scales = _tables(vocabulary, rules)
        self._bands = config.coordinate_bands
        self.features = nn.Embedding(len(vocabulary), config.embedding_size)
        self.project = nn.Linear(config.embedding_size + 4 * config.coordinate_bands + 1, config.token_size)
        self.nothing = nn.Parameter(torch.zeros(1, 1, config.token_size))
        self.queries = nn.Parameter(torch.randn(1, config.queries, config.token_size) * 0.1)
        self.attention = CrossAttention(config.token_size, config.attention_heads)
        self.norm = nn.LayerNorm(config.token_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the pooled set. Absent tokens and unknown feature ids are not seen."""
        location, ids, values = (part.long() for part in tokens.unbind(dim=-1))
        rows = torch.tensor(self._rows, device=tokens.device)[ids]
        seen = (location != self._layout.padding) & (rows >= 0)
        words = torch.cat(
            [
                self.features(rows.clamp(min=0)),
                *self._coordinates(location),
                (values / torch.tensor(self._scales, device=tokens.device)[ids]).unsqueeze(-1),
            ],
            dim=-1,
        )
        words = torch.nn.functional.gelu(self.project(words))
        # "Nothing" is always there to be attended to: an empty set has an answer, too.
        words = torch.cat([self.nothing.expand(len(tokens), 1, -1), words], dim=1)
        unseen = torch.cat([torch.zeros_like(seen[:, :1]), ~seen], dim=1)
        queries = self.queries.expand(len(tokens), -1, -1)
        pooled: Tensor = self.norm(self.attention(queries, words, unseen) + queries)
        return pooled.flatten(1)

    def _coordinates(self, location: Tensor) -> tuple[Tensor, Tensor]:
        """Return column and row as waves, x before y as in an image; each float32 [batch, token, 2 * bands]."""
        high, low = location // 16, location % 16
        row, column = (high, low) if self._layout.location == "row_high" else (low, high)
        return self._waves(column, self._layout.width), self._waves(row, self._layout.height)

    def _waves(self, coordinate: Tensor, size: int) -> Tensor:
        place = coordinate.float() / max(size - 1, 1)
        angles = torch.stack([place * math.pi * 2**band for band in range(self._bands)], dim=-1)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _tables(vocabulary: tuple[str, ...], rules: GameRules) -> tuple[list[int], list[float]]:
    """Return, by feature id, the row of the embedding (-1: unknown) and the scale of the value."""
    rows, scales = [-1] * _IDS, [1.0] * _IDS
    for feature in rules.features:
        rows[feature.id] = vocabulary.index(feature.name)
        scales[feature.id] = feature.scale
    return rows, scales
