"""mettagrid: game rules from a live game, one agent as a gymnasium environment, several agents as one batch.

Features and actions have names in mettagrid, and a feature's normalisation is its scale. Actions that only change an
agent's vibe are no part of the rules: mettagrid keeps them beside the primary ones. An observation is a set of tokens
(location, feature id, value); a location holds the row in its high four bits, 0xFE stands for no place, 0xFF is absent.

Source: mettagrid 0.26, `policy.policy_env_interface`, `envs.pettingzoo_env` and `simulator.interface`; it needs Python
3.12 and the extra ``app-loader[mettagrid]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from mettagrid.config.mettagrid_config import MettaGridConfig  # type: ignore[import-not-found]
from mettagrid.envs.pettingzoo_env import MettaGridPettingZooEnv  # type: ignore[import-not-found]
from mettagrid.policy.policy_env_interface import PolicyEnvInterface  # type: ignore[import-not-found]
from mettagrid.simulator import Simulator  # type: ignore[import-not-found]
from policy_interface import DiscreteActions, Feature, GameRules, Policy, TokenLayout
from torch import Tensor

from app_loader.environments.errors import UnsupportedSpaceError

_ABSENT = 255


def rules_from_config(config: MettaGridConfig) -> GameRules:
    """Return the rules of the game that a config describes; its label and its object tags become the tags.

    Raises:
        UnsupportedSpaceError: its observations are no token sets, or its window is larger than a location byte.
    """
    described = PolicyEnvInterface.from_mg_cfg(config)
    height, width = described.egocentric_shape
    if described.observation_kind != "token" or described.observation_shape[-1] != 3 or max(height, width) > 16:
        space = f"{described.observation_kind} {described.observation_shape}, window {height} x {width}"
        raise UnsupportedSpaceError(config.label, "observation", space, "tokens of 3 bytes in a window up to 16 x 16")
    features = (
        Feature(name=f.name, id=f.id, dtype="uint8", scale=f.normalization, low=0, high=255)
        for f in sorted(described.obs_features, key=lambda feature: feature.id)
    )
    return GameRules(
        features=tuple(features),
        layout=TokenLayout(
            tokens=described.observation_shape[0], height=height, width=width, location="row_high", padding=_ABSENT
        ),
        actions=DiscreteActions.of(*described.action_names),
        agents=described.num_agents,
        tags=(config.label, *described.tags),
    )


class MettagridGame:
    """A live game: a batch of agents, started anew by `reset`. The same seed gives the same map and the same game.

    Attributes:
        rules: of the game.
    """

    def __init__(self, config: MettaGridConfig) -> None:
        self._config = config.model_copy(deep=True)
        self.rules = rules_from_config(self._config)
        self._env: Any = None
        self._last: Any = None

    def reset(self, seed: int) -> Tensor:
        """Start a game and return the observations, uint8 [agent, token, 3]."""
        self.close()
        if hasattr(self._config.game.map_builder, "seed"):  # a map of its own for every seed
            self._config.game.map_builder.seed = seed
        self._env = MettaGridPettingZooEnv(Simulator(), self._config)
        observed, _ = self._env.reset(seed=seed)
        self._last = np.stack([observed[agent] for agent in range(self.rules.agents)])
        return torch.from_numpy(self._last.copy())

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Let every agent act once; an agent whose game is over stays as it was and gains nothing.

        Args:
            action: int64 [agent].

        Returns:
            Observations uint8 [agent, token, 3], rewards float32 [agent], terminated and truncated, bool [agent].
        """
        playing = list(self._env.agents)
        observed, gained, ended, cut, _ = self._env.step({agent: int(action[agent]) for agent in playing})
        rewards, terminated, truncated = (np.zeros(self.rules.agents, kind) for kind in (np.float32, bool, bool))
        for agent in range(self.rules.agents):
            if agent in playing:
                self._last[agent] = observed[agent]
                rewards[agent] = gained[agent]
            terminated[agent] = ended.get(agent, True)
            truncated[agent] = cut.get(agent, False)
        return (
            torch.from_numpy(self._last.copy()),
            torch.from_numpy(rewards),
            torch.from_numpy(terminated),
            torch.from_numpy(truncated),
        )

    def close(self) -> None:
        """End the game."""
        if self._env is not None:
            self._env.close()
            self._env = None


class MettagridEnv(gymnasium.Env[Any, Any]):
    """A game with one agent, for `train_ppo` and `evaluate`; it brings its own game rules.

    Args:
        config: a game with one agent.

    Raises:
        UnsupportedSpaceError: it has several agents, or see `rules_from_config`.
    """

    def __init__(self, config: MettaGridConfig) -> None:
        self._game = MettagridGame(config)
        self.game_rules = self._game.rules
        if self.game_rules.agents != 1:
            raise UnsupportedSpaceError(config.label, "action", f"{self.game_rules.agents} agents", "one agent")
        layout = self.game_rules.layout
        assert isinstance(layout, TokenLayout)
        self.observation_space = spaces.Box(0, 255, (layout.tokens, 3), np.uint8)
        self.action_space = spaces.Discrete(len(self.game_rules.actions.names))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a game: with this seed, or with one drawn from those before."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        return self._game.reset(drawn)[0].numpy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once."""
        observed, reward, terminated, truncated = self._game.step(torch.tensor([int(action)]))
        return observed[0].numpy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def close(self) -> None:
        """End the game."""
        self._game.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRecord:
    """What a policy did with every agent of one game.

    Attributes:
        returns: float32 [agent].
        actions: int64 [step, agent].
    """

    returns: Tensor
    actions: Tensor


@torch.no_grad()
def play(policy: Policy, config: MettaGridConfig, *, seed: int) -> GameRecord:
    """Play one game to its end: all agents are one batch, each with a memory of its own, acting deterministically."""
    game = MettagridGame(config)
    try:
        observation = game.reset(seed)
        state = policy.initial_state(game.rules.agents)
        returns, actions = torch.zeros(game.rules.agents), []
        over = torch.zeros(game.rules.agents, dtype=torch.bool)
        while not bool(over.all()):
            output = policy.act(observation, state)
            observation, rewards, terminated, truncated = game.step(output.action)
            returns += rewards
            over |= terminated | truncated
            actions.append(output.action)
            state = output.state
    finally:
        game.close()
    return GameRecord(returns=returns, actions=torch.stack(actions))
