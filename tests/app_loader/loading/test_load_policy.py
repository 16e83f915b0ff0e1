"""Loading end to end, with tiny wheels: what is given back, and what each kind of bad input says."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from app_loader import Store, load_policy, save_policy
from app_loader.code import ARCHITECTURES, StoredCode
from app_loader.errors import (
    BuildError,
    DeviceError,
    IncompatibleInterfaceError,
    RestoreError,
    UnknownKindError,
    VersionNotStoredError,
    WitnessError,
)
from app_loader.witness import draw_observations
from mpt_format import ArchiveNotFoundError, CorruptArchiveError, open_archive
from policy_interface import GameRules, Policy, origin_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make(store: Store, wheel_path: Path, rules: GameRules, **config: int) -> Policy:
    entry = store.add([wheel_path])
    torch.manual_seed(3)
    return StoredCode(entry).architecture_class("tiny")(**config).make_policy(rules)


def outputs(policy, rules):
    observations = draw_observations(rules, seed=11, steps=3, batch=2)
    state, found = policy.initial_state(2), []
    with torch.no_grad():
        for observation in observations:
            output = policy.act(observation, state)
            state = output.state
            found += [output.action, output.logits, output.value, state["core"]]
    return found


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_trained_code_computes_what_it_computed(store, wheel, rules, tmp_path):
    policy = make(store, wheel("0.1.0"), rules)
    save_policy(policy, tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    assert isinstance(loaded, Policy)
    assert equal(outputs(policy, rules), outputs(loaded, rules))
    assert (loaded.origin.distribution, loaded.origin.version, loaded.origin.mode) == ("tiny-zoo", "0.1.0", "isolated")
    assert loaded.manifest.code.wheel_sha256 == loaded.origin.digest
    assert not loaded.module.training


def test_three_versions_of_one_kind_take_turns_in_one_process(store, wheel, rules, tmp_path):
    expected, paths = {}, {}
    for version, scale in (("0.1.0", 1.0), ("0.2.0", 2.0), ("0.3.0", 3.0)):
        policy = make(store, wheel(version, scale=scale), rules)
        paths[version] = tmp_path / f"{version}.mpt"
        save_policy(policy, paths[version])
        expected[version] = outputs(policy, rules)
    loaded = {version: load_policy(path, store=store) for version, path in paths.items()}
    for _ in range(2):
        for version, policy in loaded.items():
            assert equal(outputs(policy, rules), expected[version])
    assert not equal(expected["0.1.0"], expected["0.2.0"])


def test_trained_never_falls_back_to_other_code_of_the_same_version(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    other = Store(tmp_path / "other")
    other.add([wheel("0.1.0", folder="stranger", scale=9.0)])
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", store=other)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.distribution, error.version, error.store) == ("tiny-zoo", "0.1.0", str(other.path))
    assert error.digest == open_archive(tmp_path / "run.mpt").manifest.code.wheel_sha256
    assert [c.accepted for c in error.resolution.candidates] == [False, False]


def test_another_stored_version_is_used_when_asked_for(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", scale=2.0)])
    loaded = load_policy(tmp_path / "run.mpt", code="0.2.0", store=store, verify="structure")
    assert loaded.origin.version == "0.2.0"


def test_other_code_that_fits_and_computes_something_else_is_refused_by_default(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", scale=2.0)])
    with pytest.raises(WitnessError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    differing = {d.name for d in pickle.loads(pickle.dumps(caught.value)).report.differences if not d.within}
    assert "logits" in differing


def test_an_unstored_version_is_named_with_the_next_command(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", code="7.0", store=store)
    assert caught.value.version == "7.0"
    assert "mpt zoo add" in caught.value.next_command


def test_current_falls_to_the_newest_stored_version_when_nothing_is_installed(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.9.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.10.0")])
    assert load_policy(tmp_path / "run.mpt", code="current", store=store).origin.version == "0.10.0"


def test_a_renamed_config_field_is_refused_with_the_path_of_both_fields(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", width="hidden_size")])
    with pytest.raises(BuildError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.stage, [p.path for p in error.problems]) == ("config", ["config.width"])


def test_renamed_state_keys_are_all_named(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", core="memory")])
    with pytest.raises(RestoreError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    error = pickle.loads(pickle.dumps(caught.value))
    assert len(error.missing) == len(error.unexpected) == 4
    assert {key.partition(".")[0] for key in error.missing} == {"memory"}


def test_a_changed_default_cannot_reach_an_old_checkpoint(store, wheel, rules, tmp_path):
    policy = make(store, wheel("0.1.0", default=5), rules)
    save_policy(policy, tmp_path / "run.mpt")
    store.add([wheel("0.2.0", default=9)])
    loaded = load_policy(tmp_path / "run.mpt", code="0.2.0", store=store, verify="witness")
    assert loaded.architecture.width == 5
    assert open_archive(tmp_path / "run.mpt").manifest.architecture.config_sources == {
        "width": "default", "inputs": "default", "outputs": "default",
    }  # fmt: skip


def test_a_contract_out_of_range_is_refused_before_any_code_runs(store, wheel, rules, tmp_path):
    marker = tmp_path / "ran"
    source = f"open({str(marker)!r}, 'w').close()\n"
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", source=source, requires=("policy-interface>=9",))])
    with pytest.raises(IncompatibleInterfaceError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.library, error.required) == ("policy-interface", ">=9")
    assert not marker.exists()


def test_a_kind_that_the_wheel_does_not_declare_is_refused_before_any_code_runs(store, wheel, rules, tmp_path):
    marker = tmp_path / "ran"
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", source=f"open({str(marker)!r}, 'w').close()\n", kinds=("other",))])
    with pytest.raises(UnknownKindError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    assert (caught.value.kind, caught.value.declared) == ("tiny", ("other",))
    assert not marker.exists()


def test_code_that_raises_while_it_is_imported_is_told_with_its_version(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.2.0", source="import surely_absent_module\n")])
    with pytest.raises(BuildError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    assert caught.value.stage == "import"
    assert "surely_absent_module" in caught.value.cause


@pytest.mark.parametrize(
    ("source", "stage"),
    [
        ("raise RuntimeError('no')\n", "import"),
        ("def (\n", "import"),
        ("TinyArchitecture = 3\n", "import"),
        ("class TinyArchitecture: pass\n", "import"),
        (
            "from policy_interface import PolicyArchitecture\n"
            "class TinyArchitecture(PolicyArchitecture):\n"
            "    kind: __import__('typing').ClassVar[str] = 'tiny'\n"
            "    from_document = classmethod(lambda cls, document: 1 / 0)\n"
            "    def make_policy(self, rules): ...\n",
            "config",
        ),
    ],
)
def test_code_that_is_broken_in_its_own_way_is_told_by_its_stage(source, stage, store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    store.add([wheel("0.9.0", source=source)])
    with pytest.raises(BuildError) as caught:
        load_policy(tmp_path / "run.mpt", store=store, code="0.9.0")
    assert caught.value.stage == stage
    assert caught.value.archive == str(tmp_path / "run.mpt")


def test_a_missing_file_and_a_truncated_file_are_different_errors(store, wheel, rules, tmp_path):
    with pytest.raises(ArchiveNotFoundError):
        load_policy(tmp_path / "absent.mpt", store=store)
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    content = (tmp_path / "run.mpt").read_bytes()
    (tmp_path / "cut.mpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptArchiveError):
        load_policy(tmp_path / "cut.mpt", store=store)


def test_a_fine_tuned_policy_is_saved_under_its_original_names_and_loads_in_a_clean_process(
    store, wheel, rules, tmp_path
):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store)
    optimizer = torch.optim.SGD(loaded.module.parameters(), lr=0.1)
    loaded.act(draw_observations(rules, seed=0)[0], loaded.initial_state(4)).logits.sum().backward()
    optimizer.step()
    save_policy(loaded, tmp_path / "tuned.mpt")
    with open_archive(tmp_path / "tuned.mpt") as archive:
        manifest = archive.manifest
    assert (manifest.code.distribution, manifest.code.version, manifest.code.package) == (
        "tiny-zoo",
        "0.1.0",
        "tiny_zoo",
    )
    assert manifest.modules[""].type == "tiny_zoo.TinyPolicy"
    assert manifest.lineage == {"parent": loaded.content_digest}
    program = (
        "import sys, json\nfrom app_loader import load_policy\n"
        "p = load_policy(sys.argv[1], store=sys.argv[2], verify='witness')\n"
        "print(json.dumps([p.origin.version, p.architecture.kind]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "tuned.mpt"), str(store.path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["0.1.0", "tiny"]


@pytest.mark.parametrize("step", ["resolve", "check_contract", "build_on_meta"])
def test_an_archive_that_is_swapped_after_it_was_checked_changes_nothing(
    step, store, wheel, rules, tmp_path, monkeypatch
):
    policy, other = make(store, wheel("0.1.0"), rules), make(store, wheel("0.2.0", scale=2.0), rules, width=7)
    save_policy(policy, tmp_path / "run.mpt")
    save_policy(other, tmp_path / "other.mpt")
    loading = importlib.import_module("app_loader.load")
    checked = getattr(loading, step)

    def swap(*arguments, **options):
        found = checked(*arguments, **options)
        (tmp_path / "other.mpt").replace(tmp_path / "run.mpt")
        return found

    monkeypatch.setattr(loading, step, swap)
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    assert equal(outputs(policy, rules), outputs(loaded, rules))
    assert (loaded.origin.version, loaded.manifest.code.version) == ("0.1.0", "0.1.0")
    assert not (tmp_path / "other.mpt").exists()


def test_the_loaded_policy_survives_pickle_and_deepcopy(store, wheel, rules, tmp_path):
    policy = make(store, wheel("0.1.0"), rules)
    save_policy(policy, tmp_path / "run.mpt")
    loaded = load_policy(tmp_path / "run.mpt", store=store)
    for twin in (pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        assert equal(outputs(twin, rules), outputs(policy, rules))
        assert twin.origin == loaded.origin
        assert origin_of(twin.module).version == "0.1.0"


def test_the_entry_declares_its_kinds_without_an_import(store, wheel):
    entry = store.add([wheel("0.1.0", source="raise RuntimeError('imported')\n")])
    assert dict(entry.entry_points(ARCHITECTURES)) == {"tiny": "tiny_zoo:TinyArchitecture"}


def test_the_right_wheel_in_a_wheelhouse_is_named_and_not_used(store, wheel, rules, tmp_path, monkeypatch):
    pinned = wheel("0.1.0")
    save_policy(make(store, pinned, rules), tmp_path / "run.mpt")
    wheel("0.1.0", folder="strangers", scale=9.0)
    (tmp_path / "mpt.toml").write_text('wheelhouses = ["strangers", "wheels"]\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", store=tmp_path / "empty")
    assert caught.value.next_command == f"mpt zoo add {pinned} --store {tmp_path / 'empty'}"
    assert [c.source for c in caught.value.resolution.candidates] == ["environment", "wheelhouse", "wheelhouse"]
    assert not (tmp_path / "empty").exists()


def test_settings_that_cannot_be_read_do_not_hide_what_is_missing(store, wheel, rules, tmp_path, monkeypatch):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    (tmp_path / "mpt.toml").write_text("wheelhouses = 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VersionNotStoredError):
        load_policy(tmp_path / "run.mpt", store=tmp_path / "empty")


def test_the_pinned_wheel_comes_before_another_release_of_the_same_files(store, wheel, rules, tmp_path):
    store.add([wheel("0.1.0")])
    save_policy(make(store, wheel("0.1.1"), rules), tmp_path / "run.mpt")
    assert load_policy(tmp_path / "run.mpt", store=store).origin.version == "0.1.1"


def test_a_version_stored_with_two_digests_is_refused_until_one_is_named(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    one, two = store.add([wheel("0.2.0", folder="one")]), store.add([wheel("0.2.0", folder="two", scale=9.0)])
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", code="0.2.0", store=store)
    assert [c.accepted for c in caught.value.resolution.candidates].count(True) == 0
    named = load_policy(tmp_path / "run.mpt", code=f"0.2.0@{one.digest[:12]}", store=store)
    assert (named.origin.digest, one.digest == two.digest) == (one.digest, False)


@pytest.mark.parametrize("device", ["meta", "gpu", "", "cuda:99"])
def test_a_device_that_cannot_hold_weights_is_named_before_anything_is_read(device, tmp_path):
    with pytest.raises(DeviceError) as caught:
        load_policy(tmp_path / "not-there.mpt", device=device)
    assert pickle.loads(pickle.dumps(caught.value)).device == device
    assert isinstance(caught.value, RuntimeError)


def test_a_policy_that_is_taken_for_a_module_tells_where_the_module_is(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    policy = load_policy(tmp_path / "run.mpt", store=store)
    with pytest.raises(AttributeError) as caught:
        policy.state_dict()
    assert "policy.module.state_dict" in str(caught.value)
    assert not hasattr(policy, "nothing_of_the_kind")


def test_code_that_is_no_version_is_answered_with_what_code_may_be(store, wheel, rules, tmp_path):
    save_policy(make(store, wheel("0.1.0"), rules), tmp_path / "run.mpt")
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", code="latest", store=store)
    assert caught.value.next_command.startswith(f"mpt load {tmp_path / 'run.mpt'} --code trained")
