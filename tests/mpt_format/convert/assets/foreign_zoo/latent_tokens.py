"""Latents that ask a set of tokens, a memory, and two heads: the policy of the predecessor's `.mpt` files."""

from __future__ import annotations

from typing import ClassVar

import torch
from policy_interface import Capability, ComponentConfig, PolicyArchitecture
from torch import nn

from foreign_zoo._acting import LogitsPolicy


class LatentConfig(ComponentConfig):
    size: int = 64
    count: int = 12
    layers: int = 2
    heads: int = 4


class LatentTokensArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "foreign_latent_tokens"

    embedding: int = 8
    frequencies: int = 3
    most_tokens: int = 48
    latents: LatentConfig = LatentConfig()
    memory: int = 32
    actor_width: int = 256
    critic_width: int = 512
    outputs: int | None = None

    def resolve(self, rules):
        return self.model_copy(update={"outputs": rules.actions.logit_count})

    def make_policy(self, rules):
        return LatentTokens(self.resolve(rules), rules)


class LatentLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.before_asking = nn.LayerNorm(config.size)
        self.ask = nn.Linear(config.size, config.size, bias=False)
        self.answer = nn.Linear(config.size, config.size)
        self.before_thinking = nn.LayerNorm(config.size)
        self.widen = nn.Linear(config.size, 4 * config.size)
        self.narrow = nn.Linear(4 * config.size, config.size)

    def forward(self, latents, keys, values, absent):
        asked = self.ask(self.before_asking(latents)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        scores = asked @ keys.transpose(-1, -2) / asked.shape[-1] ** 0.5
        scores = scores + absent[:, None, None, :] * -torch.finfo(scores.dtype).max
        latents = latents + self.answer((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))
        return latents + self.narrow(nn.functional.gelu(self.widen(self.before_thinking(latents))))


class LatentTokens(LogitsPolicy):
    capabilities = frozenset({Capability.LOGITS, Capability.VALUE})

    def __init__(self, architecture, rules):
        super().__init__(architecture, rules)
        config = architecture.latents
        words = architecture.embedding + 4 * architecture.frequencies + 1
        self.register_buffer("scales", torch.ones(256))
        self.register_buffer("frequencies", torch.ones(architecture.frequencies))
        self.features = nn.Embedding(256, architecture.embedding)
        self.word_norm = nn.LayerNorm(words)
        self.keys = nn.Linear(words, config.size, bias=False)
        self.values = nn.Linear(words, config.size, bias=False)
        self.latents = nn.Parameter(torch.zeros(1, config.count, config.size))
        self.layers = nn.ModuleList(LatentLayer(config) for _ in range(config.layers))
        self.latent_norm = nn.LayerNorm(config.size)
        self.memory = nn.LSTMCell(config.size, architecture.memory)
        self.actor = nn.Sequential(
            nn.Linear(architecture.memory, architecture.actor_width),
            nn.ReLU(),
            nn.Linear(architecture.actor_width, architecture.actor_width),
        )
        self.logits = nn.Linear(architecture.actor_width, architecture.outputs)
        self.critic = nn.Sequential(
            nn.Linear(architecture.memory, architecture.critic_width),
            nn.ReLU(),
            nn.Linear(architecture.critic_width, 1),
        )

    def initial_state(self, batch_size):
        zeros = torch.zeros(batch_size, self.architecture.memory, device=self.scales.device)
        return {"hidden": zeros, "cell": zeros.clone()}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        hidden, cell = self.memory(self._encode(observation), (state["hidden"], state["cell"]))
        logits = self.logits(self.actor(hidden))
        after = {"hidden": hidden, "cell": cell}
        return self.answer(logits, after, action, deterministic, generator, self.critic(hidden)[:, 0])

    def _encode(self, observation):
        padding = self.rules.layout.padding
        absent = observation[..., 0] == padding
        lengths = torch.where(absent.any(dim=1), absent.int().argmax(dim=1), observation.shape[1])
        kept = min(int(lengths.max()), self.architecture.most_tokens)
        absent = absent[:, :kept]
        place, feature, amount = (part.long() for part in observation[:, :kept].unbind(dim=-1))
        waves = [
            wave(((place >> shift & 15).float() / 10 * 2 - 1).unsqueeze(-1) * self.frequencies)
            for shift in (4, 0)
            for wave in (torch.cos, torch.sin)
        ]
        amounts = (amount.float() / self.scales[feature]).unsqueeze(-1)
        words = torch.cat([self.features(feature), *waves, amounts], dim=-1).masked_fill(absent.unsqueeze(-1), 0)
        words = self.word_norm(words)
        heads = self.architecture.latents.heads
        keys, values = (
            project(words).unflatten(-1, (heads, -1)).transpose(1, 2) for project in (self.keys, self.values)
        )
        latents = self.latents.expand(len(observation), -1, -1)
        for layer in self.layers:
            latents = layer(latents, keys, values, absent.to(words.dtype))
        return self.latent_norm(latents).mean(dim=1)
