"""The life of a seed: felt only when blended, frozen when fossilised, and saved and restored at any stage."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import torch
from model_zoo import AlphaSchedule, MorphogeneticArchitecture, MorphogeneticPolicy, SeedStage, SeedState
from policy_interface import GameRules, InvalidConfigError, check_policy
from policy_interface.testing import sample_observation

from tests.model_zoo.cases import make_rules

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def rules() -> GameRules:
    return make_rules("image")


@pytest.fixture
def policy(rules: GameRules) -> MorphogeneticPolicy:
    return MorphogeneticArchitecture(channels=(4, 6, 8)).make_policy(rules)


def _grow(policy: MorphogeneticPolicy, until: SeedStage, slot: str = "mid") -> None:
    schedule = AlphaSchedule(curve="linear", steps=10)
    policy.germinate(slot, "bottleneck", step=1, at=NOW, width=3, alpha_schedule=schedule)
    step = 1
    for stage in (SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.HOLDING, SeedStage.FOSSILISED):
        if policy.seed_state(slot).stage is until:
            return
        step += 10
        policy.enter(slot, stage, step=step, at=NOW)


def _logits(policy: MorphogeneticPolicy) -> torch.Tensor:
    policy.eval()
    observation = sample_observation(policy.rules, 4, torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = policy.act(observation, {}).logits
    assert logits is not None
    return logits


@pytest.mark.parametrize("stage", [SeedStage.GERMINATED, SeedStage.TRAINING])
def test_seed_is_not_felt_before_blending(policy: MorphogeneticPolicy, stage: SeedStage) -> None:
    before = _logits(policy)
    _grow(policy, stage)
    assert torch.equal(_logits(policy), before)


def test_alpha_follows_the_schedule_and_the_host_feels_it(policy: MorphogeneticPolicy) -> None:
    _grow(policy, SeedStage.BLENDING)
    silent = _logits(policy)
    policy.set_step(26)
    assert policy.seed_state("mid").alpha == 0.5
    half = _logits(policy)
    policy.set_step(1000)
    assert policy.seed_state("mid").alpha == 1.0
    assert len({_logits(policy).sum().item(), half.sum().item(), silent.sum().item()}) == 3


@pytest.mark.parametrize("curve", ["linear", "cosine", "sigmoid"])
def test_alpha_schedule_rises_from_zero_to_one(curve: str) -> None:
    schedule = AlphaSchedule.from_document({"curve": curve, "steps": 20})
    alphas = [schedule.alpha_at(step) for step in range(-1, 23)]
    assert alphas == sorted(alphas)
    assert (alphas[0], alphas[1], alphas[-1]) == (0.0, 0.0, 1.0)


def test_training_seed_learns_while_the_host_does_not_feel_it(policy: MorphogeneticPolicy) -> None:
    host = [name for name, _ in policy.named_parameters()]
    without = _gradients(policy)
    _grow(policy, SeedStage.TRAINING)
    beside = _gradients(policy)
    assert all(torch.equal(beside[name], without[name]) for name in host)
    seed = [name for name in beside if name.startswith("slots.mid.seed.")]
    assert seed
    assert all(bool(beside[name].any()) for name in seed)


def _gradients(policy: MorphogeneticPolicy) -> dict[str, torch.Tensor]:
    policy.eval()
    policy.zero_grad()
    observation = sample_observation(policy.rules, 4, torch.Generator().manual_seed(3))
    output = policy.act(observation, {}, action=torch.zeros(4, dtype=torch.int64))
    assert output.log_prob is not None and output.value is not None
    torch.autograd.backward(output.log_prob.sum() + output.value.sum())
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def test_fossilised_seed_is_frozen_with_its_statistics(policy: MorphogeneticPolicy) -> None:
    _grow(policy, SeedStage.FOSSILISED)
    assert policy.training_spec.frozen_prefixes == ("slots.mid.seed.",)
    before = {k: v.clone() for k, v in policy.state_dict().items() if isinstance(v, torch.Tensor)}
    policy.train()
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    value = policy.act(sample_observation(policy.rules, 4, torch.Generator().manual_seed(3)), {}).value
    assert value is not None
    torch.autograd.backward(value.sum())
    optimizer.step()
    changed = {k for k, v in policy.state_dict().items() if k in before and not torch.equal(v, before[k])}
    assert "blocks.0.0.weight" in changed
    assert not [name for name in changed if name.startswith("slots.mid.seed.")]


@pytest.mark.parametrize("stage", list(SeedStage))
def test_policy_is_restored_at_any_stage_from_its_architecture_and_extra_state(
    policy: MorphogeneticPolicy, rules: GameRules, stage: SeedStage
) -> None:
    if stage is not SeedStage.DORMANT:
        _grow(policy, stage)
    check_policy(policy, rules)
    saved = policy.state_dict()
    weights = {k: v for k, v in saved.items() if isinstance(v, torch.Tensor)}
    extra = json.loads(json.dumps({k: v for k, v in saved.items() if not isinstance(v, torch.Tensor)}))
    with torch.device("meta"):
        built = MorphogeneticArchitecture.from_yaml(policy.architecture.to_yaml()).make_policy(rules)
    built.load_state_dict({**weights, **extra}, strict=True, assign=True)
    assert built.seed_state("mid") == policy.seed_state("mid")
    assert built.training_spec == policy.training_spec
    assert {n for n, p in built.named_parameters() if p.requires_grad} == {
        n for n, p in policy.named_parameters() if p.requires_grad
    }
    assert torch.equal(_logits(built), _logits(policy))


def test_culled_seed_leaves_the_slot_as_it_was_before(policy: MorphogeneticPolicy) -> None:
    before, keys, architecture = _logits(policy), list(policy.state_dict()), policy.architecture
    _grow(policy, SeedStage.HOLDING)
    assert policy.architecture.mid.blueprint == "bottleneck"
    policy.enter("mid", SeedStage.DORMANT, step=99, at=NOW)
    assert policy.architecture.channels == architecture.channels
    assert policy.architecture.mid.blueprint is None
    assert list(policy.state_dict()) == keys
    assert torch.equal(_logits(policy), before)
    assert [change.stage for change in policy.seed_state("mid").stage_history][-1] is SeedStage.HOLDING


def test_state_reads_back_what_it_wrote_and_keeps_its_history(policy: MorphogeneticPolicy) -> None:
    _grow(policy, SeedStage.BLENDING)
    state = policy.seed_state("mid")
    document = json.loads(json.dumps(state.to_dict()))
    assert SeedState.from_dict(document) == state
    assert document["stage_entered_at"] == "2026-01-02T03:04:05Z"
    assert [change["stage"] for change in document["stage_history"]] == ["dormant", "germinated", "training"]


def test_stage_out_of_order_is_refused_with_every_problem() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        SeedState(step=5, stage_entered_step=5).enter(SeedStage.HOLDING, step=4)
    assert [problem.path for problem in caught.value.problems] == ["stage", "step"]


def test_extra_state_that_contradicts_the_built_slot_is_refused(policy: MorphogeneticPolicy) -> None:
    saved = policy.state_dict()
    saved["slots.mid._extra_state"] = SeedState(stage=SeedStage.HOLDING).to_dict()
    with pytest.raises(InvalidConfigError) as caught:
        policy.load_state_dict(saved)
    assert caught.value.problems[0].path == "stage"


def test_germinating_twice_is_refused_and_changes_nothing(policy: MorphogeneticPolicy) -> None:
    _grow(policy, SeedStage.TRAINING)
    architecture, keys = policy.architecture, list(policy.state_dict())
    with pytest.raises(InvalidConfigError):
        policy.germinate("mid", "squeeze", step=50)
    assert policy.architecture == architecture
    assert list(policy.state_dict()) == keys
