"""The exhibits: for every one how a zoo's policy of that kind is built, trained and shown to a visitor.

An exhibit gets the isolated code of one zoo version and speaks its language: where a config field was renamed, the
version decides which name is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, cast

import gymnasium
import torch
from app_loader.environments.gymnasium import GymnasiumAdapter, rules_from_env
from app_loader.training import PpoSettings, evaluate, train_ppo
from policy_interface import GameRules, Policy
from torch import Generator, Tensor, nn

from museum.tasks import IMAGE_RULES, TOKEN_RULES, Task, bright_square, remembered_heart

Report = Mapping[str, Any]
"""What training.json says of a run."""

GROWN_AT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
"""A fixed time for the stages of seeds: an exhibit made again says the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One checkpoint of every version.

    Attributes:
        name: of its files.
        kind: the architecture's kind.
        config: the fields that its author sets.
        rules: the game rules.
        train: trains the policy in place.
        show: the observations that are recorded, [step, batch, ...].
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    rules: Callable[[], GameRules]
    train: Callable[[Policy, ModuleType], Report]
    show: Callable[[Policy], Tensor]


def exhibits() -> tuple[Exhibit, ...]:
    """Return every exhibit, in the order in which they are made."""
    image = _fit("bright-square", bright_square, steps=150, batch_size=64)
    return (
        Exhibit(
            name="mlp_actor_critic",
            kind="mlp_actor_critic",
            config={},
            rules=lambda: _rules("CartPole-v1"),
            train=_ppo("CartPole-v1", total_steps=100_000, target_return=475.0),
            show=lambda policy: _visit("CartPole-v1", policy),
        ),
        Exhibit(
            name="mlp_actor_critic_continuous",
            kind="mlp_actor_critic",
            config={"activation": "tanh"},
            rules=lambda: _rules("Pendulum-v1"),
            train=_ppo("Pendulum-v1", total_steps=60_000, settings=PENDULUM),
            show=lambda policy: _visit("Pendulum-v1", policy),
        ),
        Exhibit(
            name="conv_actor_critic",
            kind="conv_actor_critic",
            config={"hidden_size": 64},
            rules=lambda: IMAGE_RULES,
            train=image,
            show=lambda _: bright_square(5, _seeded(99), steps=6).observations,
        ),
        Exhibit(
            name="token_recurrent",
            kind="token_recurrent",
            config={
                "encoder": {"token_size": 32, "queries": 2},
                "core": {"hidden_size": 48},
            },
            rules=lambda: TOKEN_RULES,
            train=_fit("remembered-heart", remembered_heart, steps=600, batch_size=64),
            show=lambda _: remembered_heart(5, _seeded(99)).observations,
        ),
        Exhibit(
            name="morphogenetic",
            kind="morphogenetic",
            config={},
            rules=lambda: IMAGE_RULES,
            train=_grow,
            show=lambda _: bright_square(5, _seeded(99), steps=6).observations,
        ),
    )


PENDULUM = PpoSettings(
    rollout_steps=256,
    minibatches=32,
    learning_rate=1e-3,
    discount=0.9,
    gae_lambda=0.95,
)


def _seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def _rules(env: str) -> GameRules:
    made = gymnasium.make(env)
    made.close()
    return rules_from_env(made)


def _ppo(
    env: str, *, total_steps: int, target_return: float | None = None, settings: PpoSettings | None = None
) -> Callable[[Policy, ModuleType], Report]:
    def train(policy: Policy, _: ModuleType) -> Report:
        result = train_ppo(policy, env, total_steps=total_steps, seed=0, target_return=target_return, settings=settings)
        played = evaluate(policy, env, episodes=20, seed=0)
        return {
            "algorithm": "ppo",
            "env": env,
            "seed": 0,
            "steps": result.steps,
            "evaluation": {"episodes": 20, "seed": 0, "returns": list(played.returns)},
        }

    return train


def _visit(env: str, policy: Policy) -> Tensor:
    """Return what the policy itself comes to see: 6 steps far apart in 5 episodes."""
    seen = []
    with closing(gymnasium.make_vec(env, 5, vectorization_mode="sync")) as envs, torch.no_grad():
        adapter = GymnasiumAdapter(
            rules=policy.rules, observation_space=envs.single_observation_space, action_space=envs.single_action_space
        )
        observed, _ = envs.reset(seed=123)
        state = policy.initial_state(5)
        for step in range(60):
            observation = cast("Tensor", adapter.to_observation(observed))
            if step % 10 == 0:
                seen.append(observation)
            output = policy.act(observation, state)
            observed, *_ = envs.step(adapter.to_action(output.action))
            state = output.state
    return torch.stack(seen)


def _fit(
    name: str, draw: Callable[[int, Generator], Task], *, steps: int, batch_size: int
) -> Callable[[Policy, ModuleType], Report]:
    def train(policy: Policy, _: ModuleType) -> Report:
        assert policy.module is not None
        optimizer = torch.optim.Adam(policy.module.parameters(), lr=2e-3)
        generator = _seeded(0)
        for _step in range(steps):
            _gradient_step(policy, draw(batch_size, generator), optimizer)
        return _judged(name, steps, policy, draw)

    return train


def _gradient_step(policy: Policy, task: Task, optimizer: torch.optim.Optimizer) -> None:
    """Learn right answers and values by heart, through the whole sequence."""
    state = policy.initial_state(task.actions.shape[1])
    losses = []
    for observation, action, value in zip(task.observations, task.actions, task.values, strict=True):
        output = policy.act(observation, state, action=action)
        assert output.log_prob is not None and output.value is not None
        losses.append(-output.log_prob.mean() + (output.value - value).square().mean())
        state = output.state
    optimizer.zero_grad()
    torch.autograd.backward(torch.stack(losses).mean())
    optimizer.step()


@torch.no_grad()
def _judged(name: str, steps: int, policy: Policy, draw: Callable[[int, Generator], Task]) -> Report:
    assert policy.module is not None
    policy.module.eval()
    task = draw(256, _seeded(7))
    state, right = policy.initial_state(256), []
    for observation, action in zip(task.observations, task.actions, strict=True):
        output = policy.act(observation, state)
        right.append((output.action == action).float().mean())
        state = output.state
    return {
        "algorithm": "supervised",
        "task": name,
        "seed": 0,
        "steps": steps,
        "accuracy": float(sum(right) / len(right)),
    }


def _grow(policy: Policy, zoo: ModuleType) -> Report:
    """Train the host, grow a seed to a fossil in the early slot, and stop while another is being blended in mid."""
    grown: Any = policy
    stages, schedule = zoo.SeedStage, zoo.AlphaSchedule(curve="sigmoid", steps=40)
    generator = _seeded(0)

    def train(first: int, last: int) -> None:
        grown.train()
        optimizer = torch.optim.Adam(_unfrozen(grown), lr=2e-3)
        for step in range(first, last):
            grown.set_step(step)
            _gradient_step(grown, bright_square(64, generator), optimizer)

    train(0, 40)
    grown.germinate("early", "depthwise", step=40, at=GROWN_AT, alpha_schedule=schedule)
    grown.enter("early", stages.TRAINING, step=40, at=GROWN_AT)
    train(40, 70)
    grown.enter("early", stages.BLENDING, step=70, at=GROWN_AT)
    train(70, 110)
    grown.enter("early", stages.HOLDING, step=110, at=GROWN_AT)
    train(110, 130)
    grown.enter("early", stages.FOSSILISED, step=130, at=GROWN_AT)
    grown.germinate("mid", "bottleneck", step=130, at=GROWN_AT, alpha_schedule=schedule)
    grown.enter("mid", stages.TRAINING, step=130, at=GROWN_AT)
    train(130, 160)
    grown.enter("mid", stages.BLENDING, step=160, at=GROWN_AT)
    train(160, 190)
    return _judged("bright-square", 190, policy, bright_square)


def _unfrozen(policy: Any) -> list[nn.Parameter]:
    frozen = policy.training_spec.frozen_prefixes
    return [p for name, p in policy.named_parameters() if p.requires_grad and not name.startswith(frozen)]
