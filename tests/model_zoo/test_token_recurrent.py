"""The token policy reads sets by name: order, ids and scales are of no matter, absent tokens are not seen."""

from __future__ import annotations

import pytest
import torch
from model_zoo import TokenRecurrent, TokenRecurrentArchitecture
from policy_interface import GameRules, InvalidConfigError, TokenLayout
from policy_interface.testing import sample_observation

from tests.model_zoo.cases import SMALL_ENCODER, make_rules


@pytest.fixture
def policy() -> TokenRecurrent:
    policy = TokenRecurrentArchitecture(encoder=SMALL_ENCODER).make_policy(make_rules("tokens"))
    policy.eval()
    return policy


def _logits(policy: TokenRecurrent, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = policy.act(tokens, policy.initial_state(len(tokens))).logits
    assert logits is not None
    return logits


def _tokens(policy: TokenRecurrent) -> torch.Tensor:
    tokens = sample_observation(policy.rules, 6, torch.Generator().manual_seed(5))
    assert isinstance(tokens, torch.Tensor)
    return tokens


def test_order_of_tokens_is_of_no_matter(policy: TokenRecurrent) -> None:
    tokens = _tokens(policy)
    torch.testing.assert_close(_logits(policy, tokens), _logits(policy, tokens.flip(1)))


def test_absent_tokens_and_unknown_features_are_not_seen(policy: TokenRecurrent) -> None:
    tokens = _tokens(policy)
    other = tokens.clone()
    other[:, -1] = torch.tensor([255, 9, 77], dtype=torch.uint8)
    other[:, -2] = torch.tensor([3, 200, 77], dtype=torch.uint8)
    assert torch.equal(_logits(policy, tokens), _logits(policy, other))


def test_place_feature_and_value_are_seen(policy: TokenRecurrent) -> None:
    tokens = _tokens(policy)
    for column, value in ((0, 0x13), (1, 4), (2, 99)):
        other = tokens.clone()
        other[:, 0] = torch.tensor([0x21, 9, 50], dtype=torch.uint8)
        changed = other.clone()
        changed[:, 0, column] = value
        assert not torch.equal(_logits(policy, changed), _logits(policy, other))


def test_empty_set_has_a_finite_answer(policy: TokenRecurrent) -> None:
    tokens = torch.tensor([255, 0, 0], dtype=torch.uint8).repeat(2, 12, 1)
    assert bool(_logits(policy, tokens).isfinite().all())


def test_renumbered_and_rescaled_features_of_the_same_names_compute_the_same(policy: TokenRecurrent) -> None:
    old = policy.rules
    numbers, factors = {"agent": 30, "wall": 2, "energy": 7}, {"agent": 1.0, "wall": 1.0, "energy": 0.5}
    features = sorted(
        (f.model_copy(update={"id": numbers[f.name], "scale": f.scale * factors[f.name]}) for f in old.features),
        key=lambda feature: feature.id,
    )
    new = GameRules(features=tuple(features), actions=old.actions, layout=old.layout)
    moved = policy.architecture.make_policy(new)
    assert isinstance(moved, TokenRecurrent)
    moved.load_state_dict(policy.state_dict())
    tokens = _tokens(policy)
    tokens[..., 2] = tokens[..., 2] // 2 * 2
    translated = tokens.clone()
    for feature in old.features:
        mask = (tokens[..., 1] == feature.id) & (tokens[..., 0] != 255)
        translated[..., 1][mask] = numbers[feature.name]
        translated[..., 2][mask] = (tokens[..., 2][mask].float() * factors[feature.name]).to(torch.uint8)
    assert torch.equal(_logits(moved, translated), _logits(policy, tokens))


def test_transposed_location_bytes_are_read_as_the_layout_says(policy: TokenRecurrent) -> None:
    old = policy.rules
    assert isinstance(old.layout, TokenLayout)
    layout = TokenLayout(tokens=12, height=5, width=7, location="column_high")
    moved = policy.architecture.make_policy(old.model_copy(update={"layout": layout}))
    assert isinstance(moved, TokenRecurrent)
    moved.load_state_dict(policy.state_dict())
    tokens = _tokens(policy)
    swapped = tokens.clone()
    swapped[..., 0] = torch.where(
        tokens[..., 0] == 255, tokens[..., 0], (tokens[..., 0] % 16) * 16 + tokens[..., 0] // 16
    )
    assert torch.equal(_logits(moved, swapped), _logits(policy, tokens))


def test_memory_is_used(policy: TokenRecurrent) -> None:
    tokens = _tokens(policy)
    with torch.no_grad():
        first = policy.act(tokens, policy.initial_state(6))
        second = policy.act(tokens, first.state)
    assert first.logits is not None and second.logits is not None
    assert not torch.equal(first.logits, second.logits)


def test_rules_with_other_features_are_refused_by_name(policy: TokenRecurrent) -> None:
    features = policy.rules.features[:-1]
    with pytest.raises(InvalidConfigError) as caught:
        policy.architecture.make_policy(policy.rules.model_copy(update={"features": features}))
    assert caught.value.problems[0].path == "vocabulary"
    assert "energy" in caught.value.problems[0].message
