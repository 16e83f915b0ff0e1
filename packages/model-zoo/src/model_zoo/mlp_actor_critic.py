"""mlp_actor_critic: two perceptrons over a vector of features, one for the actions and one for the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from policy_interface import GameRules, PolicyArchitecture, State
from policy_interface.policy import Observation
from pydantic import Field
from torch import Tensor, nn

from model_zoo._derive import action_size, fill_derived, refuse_layout
from model_zoo._policy import Encoding, ZooPolicy
from model_zoo.heads import scaled_orthogonal

Activation = Literal["tanh", "relu", "silu"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": nn.functional.silu,
}


class MlpActorCriticArchitecture(PolicyArchitecture):
    """Separate perceptrons for actor and critic.

    Attributes:
        layer_widths: of the hidden layers of either perceptron.
        activation: after every hidden layer.
        observation_size: derived: numbers in one observation.
        action_size: derived: outputs of the action head.
    """

    kind: ClassVar[str] = "mlp_actor_critic"
    schema_version: ClassVar[int] = 2

    layer_widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(64, 64), min_length=1, json_schema_extra={"former_names": ["hidden_sizes"]}
    )
    activation: Activation = "silu"
    observation_size: int | None = None
    action_size: int | None = None

    def resolve(self, rules: GameRules) -> MlpActorCriticArchitecture:
        """Return the config with the sizes of observation and action.

        Raises:
            InvalidConfigError: the rules' layout is not a vector or a dict, or a size is already another.
        """
        refuse_layout(self.kind, rules, "vector", "dict")
        return fill_derived(self, {"observation_size": rules.observation_size, "action_size": action_size(rules)})

    def make_policy(self, rules: GameRules) -> MlpActorCritic:
        """Build the policy; see `PolicyArchitecture.make_policy`."""
        return MlpActorCritic(self.resolve(rules), rules)


class MlpActorCritic(ZooPolicy):
    """Reads float32 [batch, observation_size], or a mapping of features that is flattened in id order."""

    def __init__(self, architecture: MlpActorCriticArchitecture, rules: GameRules) -> None:
        super().__init__(architecture, rules)
        self.actor = Perceptron(architecture, rules.observation_size)
        self.critic = Perceptron(architecture, rules.observation_size)
        self._add_heads(architecture.layer_widths[-1])

    def encode(self, observation: Observation, state: State) -> Encoding:
        """Return the last hidden layers of both perceptrons."""
        vector = self._vector(observation)
        return Encoding(self.actor(vector), self.critic(vector), state)

    def _vector(self, observation: Observation) -> Tensor:
        """Return the features divided by their scales, float32 [batch, observation_size]."""
        features = self.rules.features
        if isinstance(observation, Mapping):
            observation = torch.cat([observation[f.name].float().reshape(-1, f.size) for f in features], dim=1)
        # Built from the rules at each call: a buffer would go into the checkpoint and outlive a change of scale.
        scales = [f.scale for f in features for _ in range(f.size)]
        return observation.float() / torch.tensor(scales, device=observation.device)


class Perceptron(nn.ModuleList):
    """Linear layers, an activation after each; the n-th layer is called n."""

    def __init__(self, architecture: MlpActorCriticArchitecture, width: int) -> None:
        widths = (width, *architecture.layer_widths)
        super().__init__(scaled_orthogonal(nn.Linear(before, after), 2**0.5) for before, after in pairwise(widths))
        self._activation = _ACTIVATIONS[architecture.activation]

    def forward(self, features: Tensor) -> Tensor:
        """Return the last hidden layer, float32 [batch, width]."""
        for layer in self:
            features = self._activation(layer(features))
        return features
