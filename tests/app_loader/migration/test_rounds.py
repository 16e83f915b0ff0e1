"""Mistakes that hide: in the memory, in the value, in how wide a choice is, at the ends of a range, late in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from app_loader.migration.rounds import Rounds
from app_loader.witness import OutputDifference, record_witness, replay_witness
from policy_interface import (
    Capability,
    ContinuousActions,
    ContinuousDimension,
    Feature,
    GameRules,
    Policy,
    PolicyOutput,
)
from torch import Tensor, nn

RULES = GameRules(
    features=(Feature(name="x", id=0, shape=(4,)), Feature(name="count", id=1, dtype="uint8", low=0, high=9)),
    actions=ContinuousActions(
        dimensions=tuple(ContinuousDimension(name=n, id=i, low=-1, high=1) for i, n in enumerate(("turn", "run")))
    ),
)
WIDTH = 6
PLACES = 64


class Remembering(nn.Module, Policy):
    """A Gaussian policy with two memories, of which one is never asked, and a table of places in time."""

    def __init__(self, capabilities: frozenset[Capability]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.architecture, self.rules, self.capabilities = None, RULES, capabilities  # type: ignore[assignment]
        self.limit = 6.0
        self.inp = nn.Linear(5, WIDTH)
        self.keep, self.forget, self.idle, self.other = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.place = nn.Embedding(PLACES, WIDTH)
        self.mean, self.critic, self.second_critic = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)
        self.log_std = nn.Parameter(torch.tensor([-1.0, 0.5]))

    @property
    def module(self) -> nn.Module:
        return self

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        return {
            "used": torch.zeros(batch_size, WIDTH),
            "idle": torch.zeros(batch_size, WIDTH),
            "step": torch.zeros(batch_size, dtype=torch.long),
        }

    def act(
        self, observation: Any, state: Any, *, action: Any = None, deterministic: bool = True, generator: Any = None
    ) -> PolicyOutput:
        x = torch.tanh(self.inp(observation.clamp(-self.limit, self.limit)) + self.place(state["step"] % PLACES))
        used = torch.sigmoid(self.forget(x)) * state["used"] + torch.tanh(self.keep(x))
        idle = torch.sigmoid(self.other(x)) * state["idle"] + torch.tanh(self.idle(x))
        mean, std = self.mean(torch.tanh(used)), self.log_std.exp()
        if action is None:
            noise = torch.zeros_like(mean) if deterministic else torch.randn(mean.shape, generator=generator)
            action = mean + std * noise
        log_prob = torch.distributions.Normal(mean, std).log_prob(action).sum(-1)
        value = (self.critic(x) * torch.sigmoid(self.second_critic(x)))[:, 0]
        return PolicyOutput(
            action=action,
            state={"used": used, "idle": idle, "step": state["step"] + 1},
            log_prob=log_prob if Capability.LOG_PROB in self.capabilities else None,
            value=value,
        )


ALL = frozenset({Capability.LOG_PROB, Capability.VALUE})


def exchange(one: str, other: str) -> Callable[[Remembering], None]:
    def mistake(policy: Remembering) -> None:
        first, second = policy.get_submodule(one), policy.get_submodule(other)
        kept = {name: value.clone() for name, value in first.state_dict().items()}
        first.load_state_dict(second.state_dict())
        second.load_state_dict(kept)

    return mistake


def exchange_deviations(policy: Remembering) -> None:
    policy.log_std.data = policy.log_std.data.flip(0)


def exchange_late_places(policy: Remembering) -> None:
    policy.place.weight.data[20:60] = policy.place.weight.data[20:60].flip(0)


def narrow_the_range(policy: Remembering) -> None:
    policy.limit = 5.5


MISTAKES: dict[str, tuple[Callable[[Remembering], None], str, frozenset[Capability]]] = {
    "a memory that nothing asks": (exchange("idle", "other"), "state.idle", ALL),
    "a gate of the memory": (exchange("forget", "keep"), "state.used", ALL),
    "the value alone": (exchange("critic", "second_critic"), "value", ALL),
    "deviations, density given": (exchange_deviations, "given.log_prob", ALL),
    "deviations, nothing given": (exchange_deviations, "sampled.action", frozenset({Capability.VALUE})),
    "late in a long run": (exchange_late_places, "action", ALL),
    "at the ends of a range": (narrow_the_range, "action", ALL),
}


def compare(name: str, *, mistaken: bool) -> dict[str, OutputDifference]:
    mistake, _, capabilities = MISTAKES[name]
    old, new = Remembering(capabilities), Remembering(capabilities)
    if mistaken:
        mistake(new)
    return {d.name: d for d in Rounds(old, new, None).compare()}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_that_hides_is_found_in_the_output_that_shows_it(name: str) -> None:
    assert not compare(name, mistaken=True)[MISTAKES[name][1]].within
    assert all(d.largest < 1e-6 and d.within for d in compare(name, mistaken=False).values())


@pytest.mark.parametrize("name", sorted(set(MISTAKES) - {"deviations, nothing given", "late in a long run"}))
def test_the_witness_finds_it_too(name: str) -> None:
    mistake, output, capabilities = MISTAKES[name]
    policy = Remembering(capabilities)
    witness = record_witness(policy)
    mistake(policy)
    assert not next(d for d in replay_witness(policy, witness).differences if d.name == output).within


def test_the_long_run_is_as_long_as_the_weights_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Rounds(Remembering(ALL), Remembering(ALL), None)
    whole.compare()
    monkeypatch.setattr("app_loader.migration.rounds.LONG_BYTES", 20_000)
    short = Rounds(Remembering(ALL), Remembering(ALL), None)
    short.compare()
    assert whole.longest_run == 96
    assert whole.missing == []
    assert short.longest_run < 96
    assert short.missing
