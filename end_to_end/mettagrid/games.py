"""Games of the end-to-end tests: an empty room in which moving is worth something."""

from __future__ import annotations

from mettagrid.builder import building
from mettagrid.config.game_value import StatValue
from mettagrid.config.mettagrid_config import (
    ActionsConfig,
    AgentConfig,
    ChangeVibeActionConfig,
    GameConfig,
    MettaGridConfig,
    MoveActionConfig,
    NoopActionConfig,
)
from mettagrid.config.obs_config import ObsConfig
from mettagrid.config.reward_config import reward
from mettagrid.map_builder.random_map import RandomMapBuilder


def empty_room(agents: int = 1, *, width: int = 7, height: int = 7, max_steps: int = 24) -> MettaGridConfig:
    """Return a room with walls around it; an agent gains 1 for every move that no wall stops."""
    return MettaGridConfig(
        label="empty_room",
        game=GameConfig(
            num_agents=agents,
            max_steps=max_steps,
            objects={"wall": building.wall},
            resource_names=["heart"],
            obs=ObsConfig(width=7, height=7, num_tokens=32),
            actions=ActionsConfig(
                move=MoveActionConfig(), noop=NoopActionConfig(), change_vibe=ChangeVibeActionConfig(enabled=False)
            ),
            agent=AgentConfig(rewards={"moved": reward(StatValue(name="action.move.success"))}),
            map_builder=RandomMapBuilder.Config(agents=agents, width=width, height=height, border_width=1),
        ),
    )
