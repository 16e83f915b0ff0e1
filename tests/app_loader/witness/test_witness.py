"""The witness: what it keeps, and which changes of behaviour it tells apart."""

from __future__ import annotations

import pytest
import torch
from app_loader.witness import WitnessSpec, draw_observations, record_witness, replay_witness
from app_loader.witness.replay import compare_outputs
from policy_interface import (
    Capability,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    Policy,
    PolicyOutput,
    TokenLayout,
)
from torch import nn

RULES = GameRules(
    features=(Feature(name="x", id=0, shape=(3,)), Feature(name="y", id=1)), actions=DiscreteActions.of("a", "b", "c")
)
NAMED = RULES.model_copy(update={"layout": DictLayout()})


class Square(nn.Module, Policy):
    """A recurrent policy whose weight is square, so that a transposed one still fits."""

    def __init__(self, rules=RULES):
        super().__init__()
        self.architecture, self.rules = None, rules
        self.capabilities = frozenset({Capability.LOGITS, Capability.VALUE})
        torch.manual_seed(1)
        self.mix = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {"core": (torch.zeros(batch_size, 4),)}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        if isinstance(observation, dict):
            observation = torch.cat([observation["x"], observation["y"][:, None]], dim=1)
        mixed = self.dropout(torch.tanh(self.mix(observation) + state["core"][0]))
        logits = mixed[:, :3]
        return PolicyOutput(action=logits.argmax(-1), state={"core": (mixed,)}, logits=logits, value=mixed[:, 3])


def test_the_same_policy_meets_its_witness_bit_for_bit():
    report = replay_witness(Square(), record_witness(Square()))
    assert report.met
    assert report.bit_equal
    assert {d.name for d in report.differences} == {"action", "logits", "value", "state.core.0"}


def test_dropout_is_off_while_recording_and_the_training_mode_comes_back():
    policy = Square().train()
    assert replay_witness(policy, record_witness(policy)).bit_equal
    assert policy.training
    assert policy.dropout.training


def test_a_transposed_square_weight_is_caught():
    witness, policy = record_witness(Square()), Square()
    with torch.no_grad():
        policy.mix.weight.copy_(policy.mix.weight.T.clone())
    report = replay_witness(policy, witness)
    assert not report.met


def test_a_rounding_difference_is_within_the_tolerance_and_told():
    witness, policy = record_witness(Square()), Square()
    with torch.no_grad():
        policy.mix.bias.add_(1e-7)
    report = replay_witness(policy, witness)
    assert report.met
    assert not report.bit_equal


def test_a_dict_observation_is_recorded_by_feature_name():
    witness = record_witness(Square(NAMED))
    assert {"observation.x", "observation.y"} <= witness.tensors.keys()
    assert replay_witness(Square(NAMED), witness).bit_equal


def test_an_output_that_is_no_longer_given_is_a_difference():
    class Quiet(Square):
        def act(self, observation, state, **options):
            return super().act(observation, state, **options)._replace(value=None)

    report = replay_witness(Quiet(), record_witness(Square()))
    assert [d.name for d in report.differences if not d.within] == ["value"]


def test_an_output_that_was_added_later_is_no_difference():
    class Telling(Square):
        def act(self, observation, state, **options):
            output = super().act(observation, state, **options)
            return output._replace(entropy=output.value)

    assert replay_witness(Telling(), record_witness(Square())).bit_equal


def test_extreme_observations_lie_at_the_ends_and_absent_tokens_stay_absent():
    features = (Feature(name="x", id=3, low=-2, high=5), Feature(name="n", id=7, dtype="uint8", low=0, high=9))
    rules = RULES.model_copy(update={"features": features})
    shown = draw_observations(rules, seed=0, steps=2, batch=50, extreme_steps=1)
    assert set(shown[1, :, 0].unique().tolist()) == {-2.0, 5.0}
    assert set(shown[1, :, 1].unique().tolist()) == {0.0, 9.0}
    assert len(shown[0, :, 0].unique()) > 10
    tokens = rules.model_copy(update={"layout": TokenLayout(tokens=8, height=11, width=11)})
    seen = draw_observations(tokens, seed=0, steps=2, batch=50, extreme_steps=2)
    present = seen[..., 0] != 255
    assert not seen[~present][:, 1:].any()
    assert set(seen[present & (seen[..., 1] == 7)][:, 2].unique().tolist()) == {0, 9}


def test_a_policy_with_memory_is_watched_for_longer():
    assert record_witness(Square()).spec.steps == 12


def test_a_state_of_another_shape_is_a_difference_and_no_crash():
    class Wider(Square):
        def initial_state(self, batch_size):
            return {"core": (torch.zeros(batch_size, 4),), "more": torch.zeros(batch_size, 1)}

        def act(self, observation, state, **options):
            output = super().act(observation, state, **options)
            return output._replace(state={**output.state, "more": state["more"]})

    report = replay_witness(Wider(), record_witness(Square()))
    assert [d.name for d in report.differences if not d.within] == ["state.more"]


@pytest.mark.parametrize(("gap", "met"), [(1e-7, True), (0.5, False)])
def test_an_action_may_change_only_between_tied_logits(gap, met):
    spec = WitnessSpec(seed=0, steps=1, batch=1, outputs=("action", "logits"))
    logits = torch.tensor([[[1.0, 1.0 + gap, 0.0]]])
    recorded = {"action": torch.tensor([[1]]), "logits": logits}
    replayed = {"action": torch.tensor([[0]]), "logits": logits}
    difference = next(d for d in compare_outputs(recorded, replayed, spec) if d.name == "action")
    assert difference.within is met


def test_nan_agrees_with_nan_and_with_nothing_else():
    spec = WitnessSpec(seed=0, steps=1, batch=1, outputs=("value",))
    nan, one = torch.tensor([[float("nan")]]), torch.tensor([[1.0]])
    assert compare_outputs({"value": nan}, {"value": nan}, spec)[0].within
    assert not compare_outputs({"value": nan}, {"value": one}, spec)[0].within
    assert not compare_outputs({"value": one}, {"value": nan}, spec)[0].within


def test_the_spec_survives_its_document_and_leaves_later_fields_aside():
    spec = WitnessSpec(seed=3, steps=2, batch=5, outputs=("action",))
    assert WitnessSpec.from_document({**spec.to_document(), "invented_later": 1}) == spec


SPEC = WitnessSpec(seed=0, steps=1, batch=1, outputs=("action", "logits"))


@pytest.mark.parametrize(("action", "within"), [(0, True), (1, True), (2, False), (-1, False), (7, False)])
def test_a_tie_between_two_actions_excuses_no_third(action, within):
    logits = torch.tensor([[[1.0, 1.0, -50.0]]])
    recorded = {"action": torch.tensor([[0]]), "logits": logits}
    found = compare_outputs(recorded, {"action": torch.tensor([[action]]), "logits": logits}, SPEC)
    assert [d.within for d in found if d.name == "action"] == [within]


@pytest.mark.parametrize("now", [3.0, float("inf"), float("nan")])
def test_a_masked_logit_that_is_no_longer_masked_is_a_difference(now):
    masked = torch.tensor([0.5, float("-inf")])
    assert compare_outputs({"logits": masked}, {"logits": masked.clone()}, SPEC)[0].within
    assert not compare_outputs({"logits": masked}, {"logits": torch.tensor([0.5, now])}, SPEC)[0].within


def test_the_imaginary_part_of_a_state_counts():
    assert not compare_outputs({"state": torch.tensor([1j])}, {"state": torch.tensor([-1j])}, SPEC)[0].within
