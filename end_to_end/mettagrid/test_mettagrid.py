"""The world this problem comes from: a policy trained in mettagrid, saved, and loaded later with its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import Store, load_policy, save_policy
from app_loader.code import StoredCode
from app_loader.environments.errors import UnsupportedSpaceError
from app_loader.environments.gymnasium import rules_from_env
from app_loader.environments.mettagrid import MettagridEnv, MettagridGame, play, rules_from_config
from app_loader.training import PpoSettings, TrainingProgress, train_ppo
from policy_interface import DiscreteActions, GameRules, Policy, TokenLayout, check_policy

from end_to_end.mettagrid.games import empty_room

WHEELHOUSE = Path(__file__).resolve().parents[2] / "wheelhouse"
SMALL: dict[str, Any] = {"encoder": {"token_size": 32, "queries": 2}, "core": {"hidden_size": 32}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("mettagrid") / "store")


@pytest.fixture(scope="module")
def make_policy(store: Store) -> Callable[[GameRules], Policy]:
    """Return a function that builds the token policy of model-zoo 0.1.0, isolated from its wheel."""
    architecture = StoredCode(store.add([WHEELHOUSE / "model_zoo-0.1.0-py3-none-any.whl"])).architecture_class(
        "token_recurrent"
    )

    def make(rules: GameRules) -> Policy:
        torch.manual_seed(0)
        document = {"kind": "token_recurrent", "schema_version": 1, "config": SMALL}
        return architecture.from_document(document).make_policy(rules)

    return make


def test_rules_have_the_game_s_own_names() -> None:
    rules = rules_from_config(empty_room(agents=3))
    tag = rules.find_feature("tag")
    assert tag is not None
    assert (tag.dtype, tag.scale) == ("uint8", 10.0)
    assert isinstance(rules.actions, DiscreteActions)
    assert rules.actions.names == ("noop", "move_north", "move_south", "move_west", "move_east")
    assert rules.layout == TokenLayout(tokens=32, height=7, width=7, location="row_high", padding=255)
    assert (rules.agents, rules.tags) == (3, ("empty_room", "type:agent", "type:wall"))
    assert rules_from_env(MettagridEnv(empty_room())) == rules_from_config(empty_room())


def test_a_location_s_high_bits_are_its_row() -> None:
    """In a corridor of one row, walls stand one row above and below the agent, in many columns."""
    game = MettagridGame(empty_room(width=12, height=3))
    tag = game.rules.find_feature("tag")
    assert tag is not None
    tokens = game.reset(0)[0].long()
    game.close()
    wall = game.rules.tags.index("type:wall") - 1  # tags begin with the game's label
    walls = tokens[(tokens[:, 1] == tag.id) & (tokens[:, 2] == wall) & (tokens[:, 0] < 0xFE)]
    rows, columns = set((walls[:, 0] // 16).tolist()), set((walls[:, 0] % 16).tolist())
    assert {2, 4} <= rows <= {2, 3, 4}
    assert len(columns) > 3


def test_game_follows_its_seed(make_policy: Callable[[GameRules], Policy]) -> None:
    game = MettagridGame(empty_room(agents=2))
    first, other, again = game.reset(5), game.reset(6), game.reset(5)
    game.close()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    policy = make_policy(game.rules)
    check_policy(policy, game.rules)
    played = [play(policy, empty_room(agents=2), seed=5) for _ in range(2)]
    assert torch.equal(played[0].actions, played[1].actions)
    assert played[0].actions.shape == (24, 2)


def test_environment_of_one_agent_refuses_several() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        MettagridEnv(empty_room(agents=2))
    assert caught.value.environment == "empty_room"


def test_policy_trained_here_is_loaded_later_and_acts_the_same(
    store: Store, make_policy: Callable[[GameRules], Policy], tmp_path: Path
) -> None:
    told: list[float] = []

    def keep(progress: TrainingProgress) -> None:
        if progress.mean_return is not None:
            told.append(progress.mean_return)

    policy = make_policy(rules_from_config(empty_room()))
    settings = PpoSettings(
        environments=32,
        rollout_steps=12,
        epochs=6,
        learning_rate=4e-3,
        discount=0.8,
        entropy_weight=0.003,
    )
    result = train_ppo(
        policy, lambda: MettagridEnv(empty_room()), total_steps=6_000, seed=0, settings=settings, on_progress=keep
    )
    print(f"\nmean return {told[0]:.1f} -> {told[-1]:.1f} of 24 in {result.steps} steps, {result.elapsed_s:.0f} s")
    assert sum(told[-3:]) / 3 > told[0] + 1
    save_policy(policy, tmp_path / "run.mpt", training={"env": "empty_room", "steps": result.steps})
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    assert (loaded.origin.distribution, loaded.origin.version) == ("model-zoo", "0.1.0")
    for agents in (1, 4):
        then = play(policy, empty_room(agents=agents, width=9, height=9), seed=3)
        now = play(loaded, empty_room(agents=agents, width=9, height=9), seed=3)
        assert torch.equal(now.actions, then.actions)
        assert torch.equal(now.returns, then.returns)
