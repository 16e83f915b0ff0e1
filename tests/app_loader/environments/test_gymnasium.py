"""Game rules of live environments, and batches translated both ways."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from app_loader.environments.errors import UnknownEnvironmentError, UnsupportedSpaceError
from app_loader.environments.gymnasium import GymnasiumAdapter, batch_observations, rules_from_env
from app_loader.environments.named import make_environment
from gymnasium import spaces
from policy_interface import (
    ContinuousActions,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    ImageLayout,
    MultiDiscreteActions,
    TokenLayout,
)

TWO = spaces.Discrete(2)
FLAT = spaces.Box(-1.0, 1.0, (2,))


class StillEnv(gymnasium.Env[Any, Any]):
    """An environment of any spaces in which nothing happens."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space = observation
        self.action_space = action


def test_cartpole_is_described_with_bounds_and_scales() -> None:
    rules = rules_from_env(gymnasium.make("CartPole-v1"))
    assert rules.tags == ("CartPole-v1",)
    assert [feature.name for feature in rules.features] == [f"observation_{i}" for i in range(4)]
    assert rules.features[0].scale == pytest.approx(4.8)
    assert (rules.features[1].low, rules.features[1].high, rules.features[1].scale) == (None, None, 1.0)
    assert isinstance(rules.actions, DiscreteActions)
    assert rules.actions.names == ("action_0", "action_1")


def test_pendulum_has_bounded_continuous_actions() -> None:
    rules = rules_from_env(gymnasium.make("Pendulum-v1"))
    assert isinstance(rules.actions, ContinuousActions)
    assert (rules.actions.dimensions[0].low, rules.actions.dimensions[0].high) == (-2.0, 2.0)


def test_continuous_actions_are_clipped_to_the_bounds() -> None:
    adapter = GymnasiumAdapter.of(gymnasium.make("Pendulum-v1"))
    given = adapter.to_action(torch.tensor([[-9.0], [0.5]]))
    assert given.dtype == np.float32
    assert given.tolist() == [[-2.0], [0.5]]


@pytest.mark.parametrize("shape", [(8, 10, 3), (3, 8, 10)])
def test_image_becomes_channels_first(shape: tuple[int, ...]) -> None:
    env = StillEnv(spaces.Box(0, 255, shape, np.uint8), TWO)
    adapter = GymnasiumAdapter.of(env)
    feature = adapter.rules.features[0]
    assert isinstance(adapter.rules.layout, ImageLayout)
    assert (feature.shape, feature.dtype, feature.scale) == ((3, 8, 10), "uint8", 255.0)
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    tensor = adapter.to_observation(image[None])
    assert isinstance(tensor, torch.Tensor)
    expected = image.transpose(2, 0, 1) if shape[-1] == 3 else image
    assert np.array_equal(tensor[0].numpy(), expected)


def test_dict_of_boxes_keeps_its_names() -> None:
    space = spaces.Dict({"place": FLAT, "count": spaces.Box(0, 9, (), np.int64)})
    adapter = GymnasiumAdapter.of(StillEnv(space, TWO))
    assert isinstance(adapter.rules.layout, DictLayout)
    assert {f.name: (f.shape, f.dtype) for f in adapter.rules.features} == {
        "count": ((), "int64"),
        "place": ((2,), "float32"),
    }
    space.seed(0)
    batch = batch_observations([space.sample() for _ in range(3)])
    tensors = adapter.to_observation(batch)
    assert isinstance(tensors, dict)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {"count": (3,), "place": (3, 2)}


def test_discrete_observation_is_one_hot_from_its_start() -> None:
    adapter = GymnasiumAdapter.of(StillEnv(spaces.Discrete(3, start=5), TWO))
    assert adapter.rules.observation_size == 3
    given = adapter.to_observation(np.array([5, 7]))
    assert isinstance(given, torch.Tensor)
    assert given.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_actions_are_numbered_from_the_space_s_start() -> None:
    discrete = GymnasiumAdapter.of(StillEnv(FLAT, spaces.Discrete(2, start=-1)))
    assert discrete.to_action(torch.tensor([0, 1])).tolist() == [-1, 0]
    several = GymnasiumAdapter.of(StillEnv(FLAT, spaces.MultiDiscrete([2, 3], start=[10, 20])))
    assert isinstance(several.rules.actions, MultiDiscreteActions)
    assert several.rules.actions.logit_count == 5
    assert several.to_action(torch.tensor([[1, 2]])).tolist() == [[11, 22]]
    binary = GymnasiumAdapter.of(StillEnv(FLAT, spaces.MultiBinary(3)))
    assert binary.to_action(torch.tensor([[1, 0, 1]])).tolist() == [[1, 0, 1]]


def test_observation_does_not_change_when_the_environment_reuses_its_buffer() -> None:
    adapter = GymnasiumAdapter.of(StillEnv(FLAT, TWO))
    buffer = np.zeros((1, 2), np.float32)
    observation = adapter.to_observation(buffer)
    buffer += 1
    assert isinstance(observation, torch.Tensor)
    assert not observation.any()


@pytest.mark.parametrize(
    ("observation", "action", "what"),
    [
        (spaces.Text(4), TWO, "observation"),
        (spaces.Dict({"inner": spaces.Dict({"x": FLAT})}), TWO, "observation"),
        (FLAT, spaces.Box(0, 9, (2,), np.int64), "action"),
        (FLAT, spaces.Tuple([TWO]), "action"),
    ],
)
def test_space_that_no_rules_describe_is_refused(observation: Any, action: Any, what: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        rules_from_env(StillEnv(observation, action))
    assert caught.value.what == what
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.what, again.space, str(again)) == (what, caught.value.space, str(caught.value))


class DescribedEnv(StillEnv):
    """An environment that names its features itself."""

    def __init__(self, rules: GameRules) -> None:
        super().__init__(spaces.Box(0, 255, (4, 3), np.uint8), TWO)
        self.game_rules = rules


def test_environment_s_own_rules_are_taken_and_tokens_stay_as_they_are() -> None:
    rules = GameRules(
        features=(Feature(name="wall", id=3, dtype="uint8"),),
        layout=TokenLayout(tokens=4, height=5, width=5),
        actions=DiscreteActions.of("noop", "move"),
    )
    adapter = GymnasiumAdapter.of(DescribedEnv(rules))
    assert adapter.rules == rules
    tokens = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    given = adapter.to_observation(tokens)
    assert isinstance(given, torch.Tensor)
    assert (given.dtype, given.tolist()) == (torch.uint8, tokens.tolist())


def test_mistyped_environment_is_refused_with_one_guess() -> None:
    with pytest.raises(UnknownEnvironmentError) as caught:
        make_environment("CartPol-v1")
    assert "CartPole-v1" in caught.value.near
    assert str(caught.value).count("id you mean") == 1
