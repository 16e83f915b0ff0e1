"""What is saved can be loaded and does the same: everything else is refused before a file is written."""

from __future__ import annotations

import pytest
import torch
from app_loader import load_policy, save_policy
from app_loader.build import build_on_meta
from app_loader.code import StoredCode
from app_loader.errors import BuildError
from app_loader.trainer_state import collect_optimizer, restore_optimizer
from policy_interface import DiscreteActions, Feature, GameRules

from tests.app_loader.loading.conftest import tiny_source

IN_CONSTRUCTOR = "        self.head = nn.Linear(architecture.width, architecture.outputs + 1)\n"


@pytest.fixture
def make(store, wheel, rules):
    """Return a maker of tiny policies whose constructor and forward pass say a little more."""

    def build(constructor: str = "", *, factor: str = "1.0"):
        source = tiny_source(scale=factor).replace(IN_CONSTRUCTOR, IN_CONSTRUCTOR + constructor)
        torch.manual_seed(0)
        return StoredCode(store.add([wheel("0.1.0", source=source)])).architecture_class("tiny")().make_policy(rules)

    return build


@pytest.mark.parametrize(
    "constructor",
    [
        "        self.factor = torch.ones(())\n",
        "        self.factor = [torch.ones(())]\n",
    ],
)
def test_a_tensor_outside_the_state_dict_is_refused_when_saving_and_not_when_loading(constructor, make, tmp_path):
    policy = make(constructor, factor="sum([self.factor] if torch.is_tensor(self.factor) else self.factor)")
    with pytest.raises(BuildError) as caught:
        save_policy(policy, tmp_path / "run.mpt")
    assert caught.value.stage == "save"
    assert not (tmp_path / "run.mpt").exists()


TABLE = "        self.register_buffer('factor', torch.arange(3.0).sum(), persistent=False)\n"


def test_a_buffer_that_the_code_makes_again_needs_no_place_in_the_archive(make, store, tmp_path):
    policy = make(TABLE, factor="self.factor")
    before = torch.get_rng_state()
    save_policy(policy, tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    assert float(loaded.module.factor) == 3.0
    assert "factor" not in loaded.module.state_dict()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_buffer_outside_the_state_dict_that_training_changed_is_refused(make, tmp_path):
    policy = make(TABLE, factor="self.factor")
    policy.factor.mul_(2)
    with pytest.raises(BuildError) as caught:
        save_policy(policy, tmp_path / "run.mpt")
    assert "logits" in caught.value.cause
    assert not (tmp_path / "run.mpt").exists()


def test_parameters_are_not_initialised_to_make_a_buffer_again(make, rules):
    policy = make(TABLE, factor="self.factor")
    built = build_on_meta(policy.architecture, rules, subject="tiny")
    assert all(parameter.is_meta for parameter in built.module.parameters())
    assert float(built.module.factor) == 3.0


def test_a_plain_attribute_that_training_changed_is_refused(make, store, tmp_path):
    policy = make("        self.factor = 1.0\n", factor="self.factor")
    save_policy(policy, tmp_path / "before.mpt")
    policy.factor = 0.5
    with pytest.raises(BuildError) as caught:
        save_policy(policy, tmp_path / "run.mpt")
    assert "logits" in caught.value.cause
    load_policy(tmp_path / "before.mpt", store=store, verify="witness")


def test_a_lazy_layer_is_refused_with_its_keys(make, tmp_path):
    with pytest.raises(BuildError) as caught:
        save_policy(make("        self.extra = nn.LazyLinear(2)\n"), tmp_path / "run.mpt")
    assert "extra.weight" in caught.value.cause


def test_the_live_policy_keeps_its_mode_gradients_and_memory(make, tmp_path):
    policy = make().train()
    policy.head.weight.grad = torch.ones_like(policy.head.weight)
    place = policy.head.weight.data_ptr()
    save_policy(policy, tmp_path / "run.mpt")
    assert policy.training
    assert policy.head.weight.data_ptr() == place
    assert bool(policy.head.weight.grad.eq(1).all())


def test_a_compiled_policy_is_saved_as_the_policy_inside_and_another_wrapper_is_refused(make, store, tmp_path):
    policy = make()
    save_policy(torch.compile(policy), tmp_path / "run.mpt")
    assert load_policy(tmp_path / "run.mpt", store=store, verify="witness").architecture == policy.architecture
    with pytest.raises(TypeError):
        save_policy(torch.nn.DataParallel(policy), tmp_path / "run.mpt")


def test_an_adapted_policy_is_saved_under_the_rules_of_its_weights_and_adapts_again(make, store, rules, tmp_path):
    save_policy(make(), tmp_path / "run.mpt")
    today = rules.model_copy(update={"actions": DiscreteActions.of("right", "left", "stay")})
    adapted = load_policy(tmp_path / "run.mpt", store=store, rules=today)
    save_policy(adapted, tmp_path / "again.mpt", observations=torch.randn(2, 3, 3))
    again = load_policy(tmp_path / "again.mpt", store=store, rules=today, verify="witness")
    seen = torch.randn(16, 3)
    first, second = (p.act(seen, p.initial_state(16)) for p in (adapted, again))
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.action, second.action)


def test_adapting_twice_starts_from_the_rules_of_the_weights(make, store, rules, tmp_path):
    save_policy(make(), tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store)
    speed, position = Feature(name="speed", id=0, scale=4.0), Feature(name="position", id=1, shape=(2,))
    renumbered = GameRules(features=(speed, position), actions=rules.actions)
    rescaled = renumbered.model_copy(update={"features": (speed.model_copy(update={"scale": 8.0}), position)})
    seen = torch.randn(5, 3)
    twice, once = loaded.adapt(renumbered).adapt(rescaled), loaded.adapt(rescaled)
    outputs = [policy.act(seen, policy.initial_state(5)).logits for policy in (twice, once)]
    assert torch.equal(*outputs)
    assert torch.equal(
        loaded.adapt(renumbered).adapt(rules).act(seen, loaded.initial_state(5)).logits,
        loaded.act(seen, loaded.initial_state(5)).logits,
    )


@pytest.mark.parametrize("shape", [(3,), (0, 4, 3), (2, 0, 3)])
def test_observations_that_prove_nothing_are_refused(shape, make, tmp_path):
    with pytest.raises(ValueError):
        save_policy(make(), tmp_path / "run.mpt", observations=torch.zeros(shape))
    assert not (tmp_path / "run.mpt").exists()


def test_a_misspelt_verification_is_refused(make, store, tmp_path):
    save_policy(make(), tmp_path / "run.mpt")
    with pytest.raises(ValueError):
        load_policy(tmp_path / "run.mpt", store=store, verify="wittness")


def test_a_learning_rate_that_is_a_tensor_comes_back_as_one(make):
    policy = make()
    state = collect_optimizer(torch.optim.Adam(policy.parameters(), lr=torch.tensor(0.25), foreach=False), policy)
    resumed = torch.optim.Adam(policy.parameters(), lr=torch.tensor(0.5), foreach=False)
    restore_optimizer(resumed, policy, state)
    assert torch.equal(resumed.param_groups[0]["lr"], torch.tensor(0.25))
