"""Every wrong mapping between equal shapes fits all keys and shapes and fails the witness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from app_loader.witness import record_witness, replay_witness
from policy_interface import Capability, DiscreteActions, Feature, GameRules, Policy, PolicyArchitecture, PolicyOutput
from torch import Tensor, nn

RULES = GameRules(features=(Feature(name="x", id=0, shape=(4,)),), actions=DiscreteActions.of("a", "b", "c"))
WIDTH = 6


class GatedArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "gated"

    def make_policy(self, rules: GameRules) -> Gated:
        return Gated(self, rules)


class Gated(nn.Module, Policy):
    """Every pair of tensors that people exchange by mistake, in one policy."""

    def __init__(self, architecture: GatedArchitecture, rules: GameRules) -> None:
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({Capability.LOGITS, Capability.VALUE})
        self.inp = nn.Linear(4, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.gate, self.up = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.left, self.right = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head, self.critic = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 1)

    @property
    def module(self) -> nn.Module:
        return self

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        return {}

    def act(self, observation: Any, state: Any, **_: Any) -> PolicyOutput:
        x = torch.tanh(self.inp(observation))
        pairs = torch.softmax(self.query(x).unsqueeze(-1) * self.key(x).unsqueeze(-2), dim=-1)
        x = x + (pairs @ self.value(x).unsqueeze(-1)).squeeze(-1)
        x = x + nn.functional.silu(self.gate(x)) * self.up(x)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        logits, value = self.head(torch.tanh(self.left(x))), self.critic(torch.tanh(self.right(x)))
        return PolicyOutput(action=logits.argmax(-1), state=state, logits=logits, value=value[:, 0])


Weights = dict[str, Tensor]


def exchanged(*names: str) -> Callable[[Weights], Weights]:
    """Return the mistake that gives each module the weights of the next one."""

    def mistake(weights: Weights) -> Weights:
        wrong = dict(weights)
        for name, other in zip(names, (*names[1:], names[0]), strict=True):
            for leaf in ("weight", "bias"):
                wrong[f"{name}.{leaf}"] = weights[f"{other}.{leaf}"]
        return wrong

    return mistake


def turned(name: str) -> Callable[[Weights], Weights]:
    """Return the mistake that transposes a square matrix."""
    return lambda weights: {**weights, f"{name}.weight": weights[f"{name}.weight"].T}


MISTAKES = {
    "equal-width shift": exchanged("layers.0", "layers.1", "layers.2"),
    "neighbouring layers": exchanged("layers.1", "layers.2"),
    "query and key": exchanged("query", "key"),
    "query, key and value in a circle": exchanged("query", "key", "value"),
    "gate and up": exchanged("gate", "up"),
    "renamed and swapped twins": exchanged("left", "right"),
    "transposed square weight": turned("value"),
    "transposed layer": turned("layers.1"),
}


@pytest.fixture(scope="module")
def policy() -> Gated:
    torch.manual_seed(0)
    return Gated(GatedArchitecture(), RULES)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_mapping_between_equal_shapes_is_caught_by_the_witness(policy: Gated, name: str) -> None:
    witness = record_witness(policy)
    weights = {key: value.clone() for key, value in policy.state_dict().items()}
    wrong = MISTAKES[name](weights)
    assert {key: value.shape for key, value in wrong.items()} == {key: value.shape for key, value in weights.items()}
    other = Gated(GatedArchitecture(), RULES)
    other.load_state_dict(wrong, strict=True)
    assert not replay_witness(other, witness).met
    other.load_state_dict(weights, strict=True)
    assert replay_witness(other, witness).bit_equal
