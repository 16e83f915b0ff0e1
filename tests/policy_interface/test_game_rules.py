from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from policy_interface import (
    Action,
    ActionAxis,
    ContinuousActions,
    ContinuousDimension,
    DiscreteActions,
    Feature,
    GameRules,
    ImageLayout,
    MultiDiscreteActions,
    RulesChange,
    TokenLayout,
)
from pydantic import ValidationError

from tests.policy_interface.rules_strategies import game_rules

LEFT_RIGHT = DiscreteActions.of("left", "right")


def changes(old: GameRules, new: GameRules) -> dict[tuple[str, str], RulesChange]:
    return {(change.name, change.kind): change for change in old.compare(new).changes}


def with_features(*features: Feature) -> GameRules:
    return GameRules(features=features, actions=LEFT_RIGHT)


@given(rules=game_rules())
def test_rules_round_trip_and_equal_themselves(rules: GameRules) -> None:
    for read in (GameRules.from_json(rules.to_json()), GameRules.from_yaml(rules.to_yaml())):
        assert read == rules
        assert read.fingerprint() == rules.fingerprint()
    assert rules.compare(rules).identical


@given(one=game_rules(), other=game_rules())
def test_comparison_is_empty_exactly_for_equal_rules(one: GameRules, other: GameRules) -> None:
    assert one.compare(other).identical == (one.fingerprint() == other.fingerprint())


def test_renumbering_is_told_by_name_and_adapts() -> None:
    old = with_features(Feature(name="hp", id=0), Feature(name="gold", id=1))
    new = with_features(Feature(name="gold", id=0), Feature(name="hp", id=3))
    found = changes(old, new)
    assert (found["hp", "renumbered"].old, found["hp", "renumbered"].new) == (0, 3)
    assert set(found) == {("hp", "renumbered"), ("gold", "renumbered")}
    assert old.compare(new).adaptable
    assert not old.compare(new).equivalent


def test_rescaling_is_told_by_name_and_adapts() -> None:
    old, new = with_features(Feature(name="hp", id=0, scale=10)), with_features(Feature(name="hp", id=0, scale=100))
    assert changes(old, new)["hp", "rescaled"].new == 100
    assert old.compare(new).adaptable


def test_added_and_removed_features_do_not_adapt() -> None:
    old, new = with_features(Feature(name="hp", id=0)), with_features(Feature(name="mana", id=0))
    assert set(changes(old, new)) == {("hp", "removed"), ("mana", "added")}
    assert not old.compare(new).adaptable


@pytest.mark.parametrize("change", [{"dtype": "uint8"}, {"shape": (2,)}, {"low": -1.0}, {"high": 1.0}])
def test_changed_shape_dtype_or_bounds_are_told(change: dict[str, Any]) -> None:
    found = changes(with_features(Feature(name="hp", id=0)), with_features(Feature(name="hp", id=0, **change)))
    assert set(found) == {("hp", "changed")}


def test_actions_are_compared_by_name() -> None:
    old = GameRules(features=(Feature(name="hp", id=0),), actions=DiscreteActions.of("noop", "left", "right"))
    new = old.model_copy(update={"actions": DiscreteActions.of("left", "noop", "jump")})
    assert set(changes(old, new)) == {
        ("noop", "renumbered"),
        ("left", "renumbered"),
        ("right", "removed"),
        ("jump", "added"),
    }


def test_choices_of_an_axis_are_compared_under_the_axis_name() -> None:
    def of(*names: str) -> GameRules:
        axis = ActionAxis(name="move", id=0, choices=DiscreteActions.of(*names).choices)
        return GameRules(features=(Feature(name="hp", id=0),), actions=MultiDiscreteActions(axes=(axis,)))

    assert set(changes(of("up", "down"), of("up", "left"))) == {("move/down", "removed"), ("move/left", "added")}


def test_other_kind_of_actions_is_one_change() -> None:
    old = with_features(Feature(name="hp", id=0))
    new = old.model_copy(update={"actions": ContinuousActions(dimensions=(ContinuousDimension(name="x", id=0),))})
    change = changes(old, new)["kind", "changed"]
    assert (change.old, change.new) == ("discrete", "continuous")


def test_tags_and_agents_are_told_but_in_nobodys_way() -> None:
    old = with_features(Feature(name="hp", id=0))
    comparison = old.compare(old.model_copy(update={"agents": 4, "tags": ("Arena-v2",)}))
    assert {change.subject for change in comparison.changes} == {"agents", "tags"}
    assert comparison.equivalent
    assert not comparison.identical


def test_other_layout_does_not_adapt() -> None:
    old = GameRules(
        features=(Feature(name="hp", id=0),), actions=LEFT_RIGHT, layout=TokenLayout(tokens=4, height=5, width=5)
    )
    new = old.model_copy(update={"layout": TokenLayout(tokens=4, height=5, width=5, location="column_high")})
    assert not old.compare(new).adaptable


@pytest.mark.parametrize(
    "document",
    [
        {"features": [{"name": "a", "id": 0}, {"name": "a", "id": 1}]},
        {"features": [{"name": "a", "id": 0}, {"name": "b", "id": 0}]},
        {"features": [{"name": "a", "id": 1}, {"name": "b", "id": 0}]},
        {"features": []},
        {"features": [{"name": "a", "id": 0, "scale": 0}]},
        {"features": [{"name": "a", "id": 0, "low": 2, "high": 1}]},
        {"features": [{"name": "a", "id": 0}], "layout": {"kind": "image"}},
        {"features": [{"name": "a", "id": 256}], "layout": {"kind": "tokens", "tokens": 1, "height": 1, "width": 1}},
        {"features": [{"name": "a", "id": 0}], "layout": {"kind": "tokens", "tokens": 1, "height": 17, "width": 1}},
        {"features": [{"name": "a", "id": 0}], "agents": 0},
    ],
)
def test_inconsistent_rules_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        GameRules.from_document({"actions": LEFT_RIGHT.to_document(), **document})


def test_action_ids_are_the_logits_positions() -> None:
    with pytest.raises(ValidationError):
        DiscreteActions(choices=(Action(name="a", id=1), Action(name="b", id=0)))
    with pytest.raises(ValidationError):
        DiscreteActions.of("a", "a")
    with pytest.raises(ValidationError):
        ContinuousDimension(name="x", id=0, low=1, high=1)


def test_sizes_follow_from_the_rules(rules: GameRules) -> None:
    assert rules.observation_size == 3
    assert rules.actions.logit_count == 2  # type: ignore[union-attr]
    feature = rules.find_feature("velocity")
    assert feature is not None and feature.size == 2
    assert rules.find_feature("speed") is None


def test_image_rules_have_one_feature_with_three_axes() -> None:
    image = Feature(name="screen", id=0, shape=(3, 8, 8), dtype="uint8")
    rules = GameRules(features=(image,), layout=ImageLayout(), actions=LEFT_RIGHT)
    assert rules.observation_size == 192
