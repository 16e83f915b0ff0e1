"""Playing today's game with a policy of an older one: by name or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from app_loader.rules_adaptation import adapt_by_name
from model_zoo import (
    MlpActorCriticArchitecture,
    RecurrentCoreConfig,
    TokenEncoderConfig,
    TokenRecurrentArchitecture,
)
from policy_interface import (
    Action,
    ActionAxis,
    ContinuousActions,
    ContinuousDimension,
    DiscreteActions,
    Feature,
    GameRules,
    MultiDiscreteActions,
    Policy,
    RulesMismatchError,
    TokenLayout,
)
from torch import Tensor

OLD = GameRules(
    features=(
        Feature(name="place", id=0, shape=(2,)),
        Feature(name="speed", id=1, scale=4.0),
        Feature(name="heat", id=2),
    ),
    actions=DiscreteActions.of("left", "stay", "right"),
)


def mlp(rules: GameRules) -> Policy:
    torch.manual_seed(0)
    policy = MlpActorCriticArchitecture(layer_widths=(8,)).make_policy(rules)
    torch.nn.init.normal_(policy.action_head.weight)
    return policy


def act(policy: Policy, observation: Tensor, **options: Any) -> Any:
    with torch.no_grad():
        return policy.act(observation, policy.initial_state(len(observation)), **options)


def axes(*names: str, choices: tuple[str, ...]) -> MultiDiscreteActions:
    made = tuple(Action(name=name, id=i) for i, name in enumerate(choices))
    return MultiDiscreteActions(axes=tuple(ActionAxis(name=n, id=i, choices=made) for i, n in enumerate(names)))


def test_renumbered_actions_come_back_under_todays_ids() -> None:
    policy = mlp(OLD)
    today = OLD.model_copy(update={"actions": DiscreteActions.of("right", "left", "stay")})
    observation = torch.randn(16, 4)
    was, now = act(policy, observation), act(adapt_by_name(policy, today), observation)
    assert [OLD.actions.names[i] for i in was.action] == [today.actions.names[i] for i in now.action]
    assert torch.equal(now.logits, was.logits[:, [2, 0, 1]])


def test_given_actions_are_judged_by_name() -> None:
    policy = mlp(OLD)
    today = OLD.model_copy(update={"actions": DiscreteActions.of("right", "left", "stay")})
    observation = torch.randn(3, 4)
    was = act(policy, observation, action=torch.tensor([0, 1, 2]))
    now = act(adapt_by_name(policy, today), observation, action=torch.tensor([1, 2, 0]))
    assert torch.equal(was.log_prob, now.log_prob)


def test_renumbered_features_of_a_vector_are_put_into_the_old_order() -> None:
    policy = mlp(OLD)
    place, speed, heat = OLD.features
    moved = tuple(f.model_copy(update={"id": i}) for i, f in enumerate((heat, place, speed)))
    today = OLD.model_copy(update={"features": moved})
    observation = torch.randn(8, 4)
    was, now = act(policy, observation), act(adapt_by_name(policy, today), observation[:, [3, 0, 1, 2]])
    assert torch.equal(was.logits, now.logits)


def test_a_rescaled_feature_is_divided_by_todays_scale() -> None:
    policy = mlp(OLD)
    place, speed, heat = OLD.features
    today = OLD.model_copy(update={"features": (place, speed.model_copy(update={"scale": 8.0}), heat)})
    observation = torch.randn(8, 4)
    doubled = observation * torch.tensor([1.0, 1.0, 2.0, 1.0])
    adapted = adapt_by_name(policy, today)
    assert torch.equal(act(policy, observation).logits, act(adapted, doubled).logits)
    assert adapted.module is not None
    assert policy.module is not None
    assert next(adapted.module.parameters()) is next(policy.module.parameters())


def test_token_ids_follow_their_names() -> None:
    features = (Feature(name="agent", id=1, dtype="uint8"), Feature(name="wall", id=4, dtype="uint8", scale=10.0))
    rules = GameRules(features=features, layout=TokenLayout(tokens=6, height=5, width=5), actions=OLD.actions)
    encoder = TokenEncoderConfig(embedding_size=4, coordinate_bands=2, token_size=8, queries=1, attention_heads=2)
    torch.manual_seed(0)
    policy = TokenRecurrentArchitecture(encoder=encoder, core=RecurrentCoreConfig(hidden_size=8)).make_policy(rules)
    moved = (features[1].model_copy(update={"id": 0, "scale": 20.0}), features[0].model_copy(update={"id": 9}))
    today = rules.model_copy(update={"features": moved})
    tokens = torch.tensor(
        [[[17, 1, 3], [34, 4, 10], [255, 0, 0], [18, 4, 20], [20, 200, 5], [1, 1, 1]]], dtype=torch.uint8
    )
    renamed = tokens.clone()
    renamed[..., 1] = torch.tensor([[9, 0, 0, 0, 200, 9]], dtype=torch.uint8)
    renamed[0, [1, 3], 2] *= 2
    assert torch.allclose(act(policy, tokens).value, act(adapt_by_name(policy, today), renamed).value)


def test_axes_and_their_choices_follow_their_names() -> None:
    rules = OLD.model_copy(update={"actions": axes("move", "hand", choices=("a", "b", "c"))})
    today = OLD.model_copy(update={"actions": axes("hand", "move", choices=("c", "a", "b"))})
    policy = mlp(rules)
    observation = torch.randn(16, 4)
    was, now = act(policy, observation), act(adapt_by_name(policy, today), observation)
    assert torch.equal(now.logits, was.logits[:, [5, 3, 4, 2, 0, 1]])
    translated = torch.tensor([1, 2, 0])[was.action[:, [1, 0]]]
    assert torch.equal(now.action, translated)
    again = act(adapt_by_name(policy, today), observation, action=now.action)
    assert torch.equal(again.log_prob, was.log_prob)


def test_dimensions_of_a_continuous_action_follow_their_names() -> None:
    def actions(*names: str) -> ContinuousActions:
        return ContinuousActions(dimensions=tuple(ContinuousDimension(name=n, id=i) for i, n in enumerate(names)))

    policy = mlp(OLD.model_copy(update={"actions": actions("x", "y", "z")}))
    today = OLD.model_copy(update={"actions": actions("z", "x", "y")})
    observation = torch.randn(4, 4)
    was, now = act(policy, observation), act(adapt_by_name(policy, today), observation)
    assert torch.equal(now.action, was.action[:, [2, 0, 1]])


def test_what_was_added_or_removed_is_refused_by_name() -> None:
    today = OLD.model_copy(update={"actions": DiscreteActions.of("left", "stay", "jump")})
    with pytest.raises(RulesMismatchError) as caught:
        adapt_by_name(mlp(OLD), today)
    assert {(change.name, change.kind) for change in caught.value.comparison.changes} == {
        ("right", "removed"),
        ("jump", "added"),
    }


def test_rules_that_differ_in_tags_alone_need_no_translation() -> None:
    policy = mlp(OLD)
    assert adapt_by_name(policy, OLD.model_copy(update={"tags": ("other",)})) is policy
