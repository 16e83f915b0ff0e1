"""conv_actor_critic: a small convolutional network over images, shared by the actions and the value.

Source: the layer pattern follows Mnih et al., "Human-level control through deep reinforcement learning", 2015.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from policy_interface import ComponentConfig, GameRules, InvalidConfigError, PolicyArchitecture, Problem, State
from policy_interface.policy import Observation
from pydantic import Field
from torch import Tensor, nn

from model_zoo._derive import action_size, fill_derived, refuse_layout
from model_zoo._policy import Encoding, ZooPolicy
from model_zoo.heads import scaled_orthogonal


class ConvLayerConfig(ComponentConfig):
    """One convolution without padding, followed by a ReLU."""

    channels: int = Field(ge=1)
    kernel_size: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)


class ConvActorCriticArchitecture(PolicyArchitecture):
    """Convolutions, one linear layer, two heads.

    Attributes:
        layers: the convolutions, first to last.
        hidden_size: width of the linear layer behind them.
        image_shape: derived: channels, height, width of an observation.
        flat_size: derived: numbers that leave the last convolution.
        action_size: derived: outputs of the action head.
    """

    kind: ClassVar[str] = "conv_actor_critic"
    schema_version: ClassVar[int] = 1

    layers: tuple[ConvLayerConfig, ...] = Field(
        default=(
            ConvLayerConfig(channels=16, kernel_size=5, stride=2),
            ConvLayerConfig(channels=32, kernel_size=3, stride=2),
            ConvLayerConfig(channels=32, kernel_size=3, stride=1),
        ),
        min_length=1,
    )
    hidden_size: int = Field(default=128, ge=1)
    image_shape: tuple[int, int, int] | None = None
    flat_size: int | None = None
    action_size: int | None = None

    def resolve(self, rules: GameRules) -> ConvActorCriticArchitecture:
        """Return the config with the image's shape, what the convolutions leave of it, and the action's size.

        Raises:
            InvalidConfigError: no image layout, an image that the convolutions do not fit, or another size already.
        """
        refuse_layout(self.kind, rules, "image")
        channels, height, width = rules.features[0].shape
        derived = {
            "image_shape": (channels, height, width),
            "flat_size": self._flat_size(height, width),
            "action_size": action_size(rules),
        }
        return fill_derived(self, derived)

    def make_policy(self, rules: GameRules) -> ConvActorCritic:
        """Build the policy; see `PolicyArchitecture.make_policy`."""
        return ConvActorCritic(self.resolve(rules), rules)

    def _flat_size(self, height: int, width: int) -> int:
        for index, layer in enumerate(self.layers):
            before = height, width
            height = (height - layer.kernel_size) // layer.stride + 1
            width = (width - layer.kernel_size) // layer.stride + 1
            if min(height, width) < 1:
                message = f"a kernel of {layer.kernel_size} does not fit what is left of the image: {before}"
                raise InvalidConfigError(type(self).__name__, [Problem(path=f"layers[{index}]", message=message)])
        return self.layers[-1].channels * height * width


class ConvActorCritic(ZooPolicy):
    """Reads an image of the rules' dtype [batch, channel, height, width]; values are divided by the feature's scale."""

    def __init__(self, architecture: ConvActorCriticArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        assert architecture.flat_size is not None
        self.convolutions = _convolutions(architecture, rules.features[0].shape[0])
        self.hidden = scaled_orthogonal(nn.Linear(architecture.flat_size, architecture.hidden_size), 2**0.5)
        self._add_heads(architecture.hidden_size)

    def encode(self, observation: Observation, state: State) -> Encoding:
        """Return the linear layer's output, the same for both heads."""
        assert isinstance(observation, Tensor)
        image = observation.float() / self.rules.features[0].scale
        features = torch.relu(self.hidden(self.convolutions(image).flatten(1)))
        return Encoding(features, features, state)


def _convolutions(architecture: ConvActorCriticArchitecture, channels: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for layer in architecture.layers:
        modules += [nn.Conv2d(channels, layer.channels, layer.kernel_size, layer.stride), nn.ReLU()]
        channels = layer.channels
    return nn.Sequential(*modules)
