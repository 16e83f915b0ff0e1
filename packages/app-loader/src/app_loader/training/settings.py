"""PpoSettings: the numbers of proximal policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """Defaults that learn CartPole in 10,000 to 50,000 steps; learning rate and clip range fall linearly to zero.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; the learning rate, clip range and number
    of environments follow the RL Baselines3 Zoo for CartPole-v1.

    Attributes:
        environments: how many run side by side.
        rollout_steps: steps of each between two updates; a recurrent policy learns through that many.
        epochs: passes over a rollout.
        minibatches: parts of a rollout per pass; a recurrent policy's are whole environments.
        learning_rate: of Adam, at the start.
        discount: of a reward one step later.
        gae_lambda: bias against variance of the advantage (Schulman et al., 2015).
        clip_range: how far the new probability may leave the old one, at the start.
        value_weight: of the value loss.
        entropy_weight: of the entropy bonus.
        max_gradient_norm: longer gradients are shortened to it.
    """

    environments: int = 8
    rollout_steps: int = 64
    epochs: int = 10
    minibatches: int = 2
    learning_rate: float = 1e-3
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    max_gradient_norm: float = 0.5
