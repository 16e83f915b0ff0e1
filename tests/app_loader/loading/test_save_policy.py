"""Saving: what is refused, what is recorded, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from app_loader import Store, load_policy, save_policy
from app_loader.code import StoredCode
from app_loader.errors import BuildError, RestoreError
from app_loader.trainer_state import collect_optimizer, read_optimizer_state, restore_optimizer
from mpt_format import ArchiveWriteError, UnstorableStateError, open_archive
from policy_interface import PolicyArchitecture


@pytest.fixture
def policy(tmp_path, wheel, rules):
    torch.manual_seed(0)
    entry = Store(tmp_path / "store").add([wheel("0.1.0")])
    return StoredCode(entry).architecture_class("tiny")(width=6).make_policy(rules)


def test_two_saves_without_a_time_are_byte_identical(policy, tmp_path):
    for name in ("a", "b"):
        save_policy(policy, tmp_path / name, created=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_leaves_the_policy_its_training_mode_and_the_global_generator(policy, tmp_path):
    policy.train()
    before = torch.get_rng_state()
    save_policy(policy, tmp_path / "run.mpt")
    assert policy.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_size_that_is_not_in_the_config_is_refused(policy, tmp_path):
    policy.head = torch.nn.Linear(6, 9)
    with pytest.raises(BuildError) as caught:
        save_policy(policy, tmp_path / "run.mpt")
    assert caught.value.stage == "save"
    assert "head.weight" in caught.value.cause
    assert not (tmp_path / "run.mpt").exists()


def test_a_policy_of_no_distribution_is_refused_with_the_way_out(tmp_path, policy):
    class Homeless(PolicyArchitecture):
        kind: ClassVar[str] = "homeless"

        def make_policy(self, rules):
            return policy

    Homeless.__module__ = "__main__"
    policy.architecture = Homeless()
    with pytest.raises(BuildError) as caught:
        save_policy(policy, tmp_path / "run.mpt", witness=False)
    assert "mpt new-zoo" in caught.value.next_command


def test_extra_state_that_is_no_json_is_named_by_its_path(policy, tmp_path):
    class Head(torch.nn.Linear):
        def get_extra_state(self):
            return {"when": {1, 2}}

    policy.head = Head(6, 4)
    with pytest.raises(UnstorableStateError) as caught:
        save_policy(policy, tmp_path / "run.mpt")
    assert any("head._extra_state" in problem.where for problem in caught.value.problems)


def test_a_missing_folder_leaves_nothing_and_names_the_target(policy, tmp_path):
    with pytest.raises(ArchiveWriteError) as caught:
        save_policy(policy, tmp_path / "absent" / "run.mpt")
    assert caught.value.path == str(tmp_path / "absent" / "run.mpt")
    assert pickle.loads(pickle.dumps(caught.value)).path == caught.value.path


def test_the_callers_observations_become_the_witness(policy, tmp_path):
    shown = torch.randn(2, 3, 3)
    save_policy(policy, tmp_path / "run.mpt", observations=shown)
    with open_archive(tmp_path / "run.mpt") as archive:
        assert torch.equal(archive.read_witness()["observation"], shown)
        assert archive.manifest.witness["seed"] is None
        assert archive.manifest.witness["steps"] == 2


def test_what_the_author_chose_is_told_from_what_was_default(policy, tmp_path):
    save_policy(policy, tmp_path / "run.mpt")
    with open_archive(tmp_path / "run.mpt") as archive:
        assert archive.manifest.architecture.config_sources["width"] == "author"


def test_the_record_pins_wheel_and_package(policy, tmp_path, wheel):
    written = save_policy(policy, tmp_path / "run.mpt", training={"steps": 7}, readme="# run\n")
    code = written.manifest.code
    assert code.wheel_sha256 == hashlib.sha256(Path(wheel("0.1.0")).read_bytes()).hexdigest()
    assert code.package == "tiny_zoo"
    with open_archive(tmp_path / "run.mpt") as archive:
        assert archive.read_json("training.json") == {"steps": 7}
        assert archive.read_member("README.md") == b"# run\n"


def test_training_goes_on_as_if_it_had_not_stopped(policy, tmp_path, rules):
    def step(module, optimizer):
        optimizer.zero_grad()
        torch.manual_seed(5)
        module.act(torch.randn(4, 3), module.initial_state(4)).logits.square().sum().backward()
        optimizer.step()

    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01, betas=(0.8, 0.9))
    step(policy, optimizer)
    save_policy(policy, tmp_path / "run.mpt", optimizer=optimizer)
    loaded = load_policy(tmp_path / "run.mpt", store=tmp_path / "store")
    resumed = torch.optim.Adam(loaded.module.parameters(), lr=0.5)
    restore_optimizer(resumed, loaded.module, read_optimizer_state(tmp_path / "run.mpt"))
    step(policy, optimizer)
    step(loaded.module, resumed)
    for (name, was), (_, now) in zip(policy.named_parameters(), loaded.module.named_parameters(), strict=True):
        assert torch.equal(was, now), name


def test_an_optimizer_over_other_parameters_is_refused(policy):
    stranger = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    with pytest.raises(RestoreError):
        collect_optimizer(stranger, policy)
    state = collect_optimizer(torch.optim.SGD(policy.parameters(), lr=0.1), policy)
    with pytest.raises(RestoreError):
        restore_optimizer(torch.optim.Adam(policy.parameters()), policy, state)


def test_an_archive_without_an_optimizer_says_so(policy, tmp_path):
    save_policy(policy, tmp_path / "run.mpt")
    with pytest.raises(RestoreError):
        read_optimizer_state(tmp_path / "run.mpt")
