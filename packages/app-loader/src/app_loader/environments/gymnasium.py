"""gymnasium: game rules from a live environment, its observations as tensors, a policy's actions as its own.

gymnasium numbers what it does not name, so features and actions are named after their place. A bounded feature's scale
is the larger of its bounds, so that a policy sees it within [-1, 1]; an unbounded one's is 1.

Source: https://gymnasium.farama.org/api/spaces/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from policy_interface import (
    Action,
    ActionAxis,
    Actions,
    ContinuousActions,
    ContinuousDimension,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    ImageLayout,
    Layout,
    MultiDiscreteActions,
    Policy,
    TokenLayout,
    VectorLayout,
)
from policy_interface.policy import Observation
from torch import Tensor

from app_loader.environments.errors import UnfitEnvironmentError, UnsupportedSpaceError

_UNBOUNDED = 1e30
"""Spaces write "no bound" as infinity or as their type's largest number."""


@runtime_checkable
class SelfDescribed(Protocol):
    """An environment that names its features and actions itself, and observes as its rules lay out.

    Attributes:
        game_rules: its rules.
    """

    game_rules: GameRules


def rules_from_env(env: gymnasium.Env[Any, Any]) -> GameRules:
    """Return the game rules of a live environment: its own where it has some, else made of its spaces and its id.

    Raises:
        UnsupportedSpaceError: an observation that is not a box, a discrete number or a dict of boxes; an action that
            is not discrete, multi-discrete, multi-binary or a flat box.
    """
    if isinstance(env.unwrapped, SelfDescribed):
        return env.unwrapped.game_rules
    name = _name(env)
    features, layout = _features(name, env.observation_space)
    return GameRules(features=features, layout=layout, actions=_actions(name, env.action_space), tags=(name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class GymnasiumAdapter:
    """Translates between batches of an environment and a policy.

    Attributes:
        rules: the environment's game rules.
        observation_space: of one environment.
        action_space: of one environment.
    """

    rules: GameRules
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    @classmethod
    def of(cls, env: gymnasium.Env[Any, Any]) -> GymnasiumAdapter:
        """Return the adapter of a live environment.

        Raises:
            UnsupportedSpaceError: see `rules_from_env`.
        """
        rules = rules_from_env(env)
        return cls(rules=rules, observation_space=env.observation_space, action_space=env.action_space)

    def check_policy_fits(self, policy: Policy) -> None:
        """Make sure that a policy sees and does what this environment gives and takes; names may differ.

        Raises:
            UnfitEnvironmentError: the layout, a number of features or of choices is another.
        """
        mine, its = _extent(self.rules), _extent(policy.rules)
        problems = tuple(
            f"{what}: {its[what]} in the policy, {mine[what]} here" for what in mine if mine[what] != its[what]
        )
        if problems:
            raise UnfitEnvironmentError(", ".join(self.rules.tags) or "this environment", problems)

    def to_observation(self, batch: Any) -> Observation:
        """Return observations (an array whose first axis is the batch, or a dict of such) as the rules lay them out."""
        space = self.observation_space
        if isinstance(space, spaces.Discrete):
            numbers = torch.as_tensor(np.asarray(batch)) - int(space.start)
            return torch.nn.functional.one_hot(numbers, int(space.n)).float()
        if isinstance(space, spaces.Dict):
            assert isinstance(batch, Mapping)
            return {feature.name: _tensor(batch[feature.name]) for feature in self.rules.features}
        assert isinstance(space, spaces.Box)
        tensor = _tensor(batch)
        if isinstance(self.rules.layout, TokenLayout):
            return tensor
        if isinstance(self.rules.layout, ImageLayout):
            return tensor.permute(0, 3, 1, 2) if _channels_last(space) else tensor
        return tensor.float().reshape(len(tensor), -1)

    def to_action(self, action: Tensor) -> Any:
        """Return a batch of actions as the environment takes them; continuous ones are clipped to its bounds."""
        values = action.detach().cpu().numpy()
        space = self.action_space
        if isinstance(space, spaces.Box):
            return np.clip(values.reshape(-1, *space.shape), space.low, space.high).astype(space.dtype)
        if isinstance(space, spaces.Discrete):
            return values + int(space.start)
        if isinstance(space, spaces.MultiDiscrete):
            return values.reshape(-1, *space.shape) + space.start
        return values.reshape(-1, *cast("tuple[int, ...]", space.shape)).astype(np.int8)


def batch_observations(observations: Sequence[Any]) -> Any:
    """Return observations of single environments as one batch, as a vector environment would give it."""
    if isinstance(observations[0], Mapping):
        return {key: np.stack([each[key] for each in observations]) for key in observations[0]}
    return np.stack(observations)


def _extent(rules: GameRules) -> dict[str, object]:
    """Return what shapes a policy's input and output, without names; a token layout takes any set of features."""
    observation: object = "tokens"
    if isinstance(rules.layout, VectorLayout):
        observation = f"{rules.observation_size} numbers"
    elif not isinstance(rules.layout, TokenLayout):
        observation = sorted(feature.shape for feature in rules.features)
    return {
        "layout": rules.layout.kind,
        "observation": observation,
        "actions": rules.actions.kind,
        "choices": len(rules.actions.names),
    }


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__qualname__


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values))  # a copy: vector environments reuse their buffers


def _features(name: str, space: spaces.Space[Any]) -> tuple[tuple[Feature, ...], Layout]:
    if isinstance(space, spaces.Discrete):
        numbered = (Feature(name=f"observation_{i}", id=i, low=0, high=1) for i in range(int(space.n)))
        return tuple(numbered), VectorLayout()
    if isinstance(space, spaces.Dict) and all(isinstance(part, spaces.Box) for part in space.values()):
        parts = ((key, part) for key, part in space.items() if isinstance(part, spaces.Box))
        return tuple(_box_feature(key, i, part, part.shape) for i, (key, part) in enumerate(parts)), DictLayout()
    if not isinstance(space, spaces.Box):
        raise UnsupportedSpaceError(name, "observation", str(space), "a Box, a Discrete or a Dict of boxes")
    if len(space.shape) == 3 and space.dtype == np.uint8:
        height, width, channels = space.shape if _channels_last(space) else (*space.shape[1:], space.shape[0])
        return (_box_feature("image", 0, space, (channels, height, width)),), ImageLayout()
    lows, highs = np.ravel(space.low), np.ravel(space.high)
    dtype = "float32"  # a vector observation is float32 whatever the box holds
    vector = (
        Feature(name=f"observation_{i}", id=i, dtype=dtype, **_bounds(low, high))
        for i, (low, high) in enumerate(zip(lows, highs, strict=True))
    )
    return tuple(vector), VectorLayout()


def _channels_last(space: spaces.Box) -> bool:
    """Tell whether a 3-axis box is (height, width, channel): the axis of the channels is the short one."""
    return space.shape[-1] <= 4 < space.shape[0]


def _box_feature(name: str, number: int, box: spaces.Box, shape: tuple[int, ...]) -> Feature:
    document = {"name": name, "id": number, "shape": shape, "dtype": str(box.dtype)}
    return Feature.model_validate({**document, **_bounds(box.low.min(), box.high.max())})


def _bounds(low: Any, high: Any) -> dict[str, Any]:
    ends = [None if abs(float(end)) > _UNBOUNDED else float(end) for end in (low, high)]
    reach = None if None in ends else max(abs(cast("float", end)) for end in ends)
    return {"low": ends[0], "high": ends[1], "scale": reach or 1.0}


def _actions(name: str, space: spaces.Space[Any]) -> Actions:
    if isinstance(space, spaces.Discrete):
        return DiscreteActions.of(*(f"action_{i}" for i in range(int(space.n))))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        dimensions = []
        for i, (low, high) in enumerate(zip(np.ravel(space.low), np.ravel(space.high), strict=True)):
            bounds = _bounds(low, high)
            dimensions.append(ContinuousDimension(name=f"action_{i}", id=i, low=bounds["low"], high=bounds["high"]))
        return ContinuousActions(dimensions=tuple(dimensions))
    if isinstance(space, spaces.MultiDiscrete):
        sizes = [int(size) for size in np.ravel(space.nvec)]
    elif isinstance(space, spaces.MultiBinary):
        sizes = [2] * int(np.prod(space.shape))
    else:
        raise UnsupportedSpaceError(name, "action", str(space), "Discrete, MultiDiscrete, MultiBinary or a float Box")
    return MultiDiscreteActions(
        axes=tuple(
            ActionAxis(name=f"action_{i}", id=i, choices=tuple(Action(name=f"choice_{k}", id=k) for k in range(size)))
            for i, size in enumerate(sizes)
        )
    )
