"""Proximal policy optimisation for any policy that keeps the contract, recurrent or not.

It knows the contract and a gymnasium environment, nothing of a policy's class. The policy stays in evaluation mode:
statistics gathered over a batch would change what a rollout's probabilities were.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; Huang et al., "The 37 Implementation Details
of Proximal Policy Optimization", 2022.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch
from policy_interface import Capability, Policy
from torch import Generator, Tensor, nn

from app_loader.training.errors import UntrainablePolicyError
from app_loader.training.evaluate import EnvFactory, env_factory, evaluate
from app_loader.training.pytrees import flatten_time, index_tree, where_tree
from app_loader.training.rollout import Rollout, RolloutCollector
from app_loader.training.settings import PpoSettings
from app_loader.witness.record import evaluation_mode

_RECENT = 20
"""Episodes over which progress tells the mean return, and over which a target is checked."""

_CHECK_EVERY = 10
"""Updates between two checks at least: a check costs as much as several updates."""

_CHECK_SEED = 1_000_000
"""First seed of the episodes that check the target: far from those of training and from a user's own evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far training is.

    Attributes:
        step: environment steps so far.
        total_steps: at most so many.
        mean_return: of the last 20 finished episodes; None before the first one.
        elapsed_s: seconds since the start.
    """

    step: int
    total_steps: int
    mean_return: float | None
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of it.

    Attributes:
        steps: environment steps used.
        episodes: finished ones.
        mean_return: over 20 deterministic episodes, of the weights that the policy now has.
        target_reached: whether `mean_return` is the target or better; True without a target.
        elapsed_s: seconds.
    """

    steps: int
    episodes: int
    mean_return: float
    target_reached: bool
    elapsed_s: float


def train_ppo(
    policy: Policy,
    env: str | EnvFactory,
    *,
    total_steps: int,
    seed: int,
    target_return: float | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    settings: PpoSettings | None = None,
) -> TrainingResult:
    """Train a policy in place, until the target or the last step, and leave it with the best weights that were checked.

    The same policy, seed and settings give the same weights on the same machine and libraries.

    Args:
        policy: with a module in this process and the capabilities log_prob, value and entropy.
        env: a gymnasium id, or a function that makes the environment.
        total_steps: at most so many steps, over all environments.
        seed: of environments, sampling and minibatches.
        target_return: stop once 20 deterministic episodes reach it on average.
        on_progress: called after every update.
        settings: None for the defaults.

    Raises:
        UntrainablePolicyError: it is in another process, lacks a capability, or has nothing left to train.
        UnsupportedSpaceError: the environment cannot be described by game rules.
        UnfitEnvironmentError: its observations or actions are not those of the policy.
    """
    settings = settings or PpoSettings()
    parameters = _trainable(policy)
    module = policy.module
    assert module is not None
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, eps=1e-5)
    steps_per_update = settings.environments * settings.rollout_steps
    best: tuple[float, dict[str, Tensor]] | None = None
    with evaluation_mode(policy), _one_thread():
        collector = RolloutCollector(policy, env_factory(env), settings, seed, generator)
        try:
            step, unchecked = 0, 0
            while step < total_steps:
                rollout = collector.collect()
                _update(policy, rollout, optimizer, parameters, settings, 1 - step / total_steps, generator)
                step, unchecked = step + steps_per_update, unchecked + 1
                recent = collector.episode_returns[-_RECENT:]
                mean_return = fmean(recent) if recent else None
                if on_progress is not None:
                    elapsed_s = time.monotonic() - started
                    on_progress(
                        TrainingProgress(
                            step=min(step, total_steps),
                            total_steps=total_steps,
                            mean_return=mean_return,
                            elapsed_s=elapsed_s,
                        )
                    )
                if step >= total_steps or (unchecked >= _CHECK_EVERY and _promising(mean_return, target_return)):
                    unchecked = 0
                    checked = evaluate(policy, env, episodes=_RECENT, seed=_CHECK_SEED + seed).mean_return
                    if best is None or checked > best[0]:
                        best = checked, {k: v.detach().clone() for k, v in module.named_parameters()}
                    if target_return is not None and checked >= target_return:
                        break
        finally:
            collector.close()
    assert best is not None
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(best[1][name])
    return TrainingResult(
        steps=step,
        episodes=len(collector.episode_returns),
        mean_return=best[0],
        target_reached=target_return is None or best[0] >= target_return,
        elapsed_s=time.monotonic() - started,
    )


def _promising(mean_return: float | None, target_return: float | None) -> bool:
    """Tell whether a check is worth its time: chosen deterministically, actions are better than sampled ones."""
    if mean_return is None or target_return is None:
        return False
    return mean_return >= target_return - abs(target_return) / 2


def _trainable(policy: Policy) -> list[nn.Parameter]:
    """Return the parameters that may be touched."""
    module, spec = policy.module, policy.training_spec
    wanted = (Capability.LOG_PROB, Capability.VALUE, Capability.ENTROPY)
    reasons = [f"it does not give {capability}" for capability in wanted if capability not in policy.capabilities]
    if module is None:
        raise UntrainablePolicyError(type(policy).__qualname__, ["its module is in another process", *reasons])
    parameters = [
        p for name, p in module.named_parameters() if p.requires_grad and not name.startswith(spec.frozen_prefixes)
    ]
    if not parameters:
        reasons.append("every parameter is frozen")
    if reasons:
        raise UntrainablePolicyError(type(policy).__qualname__, reasons)
    return parameters


def _update(
    policy: Policy,
    rollout: Rollout,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    settings: PpoSettings,
    remaining: float,
    generator: Generator,
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * remaining
    clip_range = settings.clip_range * remaining
    parts = _sequences if policy.training_spec.recurrent else _steps
    for _ in range(settings.epochs):
        for part in parts(policy, rollout, settings, generator):
            loss = _loss(part, settings, clip_range)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
            optimizer.step()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A minibatch: what the policy says now [n], and what was then [n]."""

    log_prob: Tensor
    value: Tensor
    entropy: Tensor
    old_log_prob: Tensor
    advantage: Tensor
    target: Tensor


def _steps(policy: Policy, rollout: Rollout, settings: PpoSettings, generator: Generator) -> Iterator[_Part]:
    """Yield minibatches of single steps in random order: for a policy without memory."""
    observation, action = flatten_time(rollout.observation), rollout.action.flatten(0, 1)
    old = [tensor.flatten() for tensor in (rollout.log_prob, rollout.advantage, rollout.target)]
    order = torch.randperm(len(action), generator=generator)
    for chosen in order.chunk(settings.minibatches):
        output = policy.act(index_tree(observation, chosen), {}, action=action[chosen])
        assert output.log_prob is not None and output.value is not None and output.entropy is not None
        yield _Part(
            log_prob=output.log_prob,
            value=output.value,
            entropy=output.entropy,
            old_log_prob=old[0][chosen],
            advantage=old[1][chosen],
            target=old[2][chosen],
        )


def _sequences(policy: Policy, rollout: Rollout, settings: PpoSettings, generator: Generator) -> Iterator[_Part]:
    """Yield minibatches of whole environments, played again from the rollout's first state."""
    count = rollout.action.shape[1]
    for chosen in torch.randperm(count, generator=generator).chunk(settings.minibatches):
        state = index_tree(index_tree(rollout.states, 0), chosen)
        fresh = policy.initial_state(len(chosen))
        said: list[tuple[Tensor, Tensor, Tensor]] = []
        for step in range(len(rollout.action)):
            state = where_tree(rollout.starts[step][chosen], fresh, state)
            observation = index_tree(index_tree(rollout.observation, step), chosen)
            output = policy.act(observation, state, action=rollout.action[step][chosen])
            assert output.log_prob is not None and output.value is not None and output.entropy is not None
            said.append((output.log_prob, output.value, output.entropy))
            state = output.state
        log_prob, value, entropy = (torch.stack(column).flatten() for column in zip(*said, strict=True))
        yield _Part(
            log_prob=log_prob,
            value=value,
            entropy=entropy,
            old_log_prob=rollout.log_prob[:, chosen].flatten(),
            advantage=rollout.advantage[:, chosen].flatten(),
            target=rollout.target[:, chosen].flatten(),
        )


def _loss(part: _Part, settings: PpoSettings, clip_range: float) -> Tensor:
    advantage = (part.advantage - part.advantage.mean()) / (part.advantage.std() + 1e-8)
    ratio = torch.exp(part.log_prob - part.old_log_prob)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
    value_loss = (part.value - part.target).square().mean()
    return policy_loss + settings.value_weight * value_loss - settings.entropy_weight * part.entropy.mean()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: for networks of this size more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
