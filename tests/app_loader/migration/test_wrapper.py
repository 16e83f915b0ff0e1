"""A wrapper around the whole policy is seen through, told, and nothing else is."""

from __future__ import annotations

from typing import Any

import history_zoo
import pytest
import torch
from app_loader import load_policy
from app_loader.diagnosis import diagnose
from app_loader.errors import MigrationError, RestoreError
from app_loader.migration.draft import draft_revision
from app_loader.migration.write import migrate_archive
from app_loader.revisions import migrated
from app_loader.revisions.wrapper import find_wrapper
from mpt_format import open_archive

KEYS = {"body.weight", "body.bias", "head.weight"}


def within(*names: str) -> set[str]:
    return {".".join([*names, key]) for key in KEYS}


@pytest.mark.parametrize("names", [("module",), ("_orig_mod",), ("_orig_mod", "module")])
def test_a_wrapper_is_found_both_ways(names: tuple[str, ...]) -> None:
    out, into = find_wrapper(within(*names), KEYS), find_wrapper(KEYS, within(*names))
    assert out is not None and into is not None
    assert (out.old, out.new) == (".".join([*names, "{rest...}"]), "{rest...}")
    assert out.inverted() == into


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (KEYS, KEYS),
        (within("net"), KEYS),  # a module of the author's own
        (within("module") | {"step"}, KEYS),
        (within("module"), KEYS | {"value.weight"}),
        ({"body.module.weight"}, {"body.weight"}),
        (set[str](), KEYS),
    ],
)
def test_anything_else_is_no_wrapper(have: set[str], want: set[str]) -> None:
    assert find_wrapper(have, want) is None


@pytest.fixture
def wrapped(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A zoo whose first release keeps its policy in a wrapper, as data parallel training does."""
    plain = history_zoo.policy_source

    def source(version: str, *, twist: str = "") -> str:
        text = str(plain("0.1.0", twist=twist))
        if version != "0.0.1":
            return text
        text = text.replace("        return self\n", "        return self._shell[0]\n", 1)
        shell = "        self._shell = [nn.ModuleDict({'module': self})]\n"
        return text.replace("        width = architecture.width\n", shell + "        width = architecture.width\n", 1)

    monkeypatch.setattr(history_zoo, "policy_source", source)
    zoo.add("0.0.1")
    zoo.add("0.1.1")
    return zoo


def test_a_checkpoint_of_a_wrapped_policy_loads_with_code_that_has_no_wrapper(wrapped: Any) -> None:
    path = wrapped.save("0.0.1")
    with open_archive(path) as archive:
        assert all(key.startswith("module.") for key in archive.tensors)
    policy = load_policy(path, code="0.1.1", store=wrapped.store)
    assert "module." in policy.origin.reason
    trained = load_policy(path, store=wrapped.store)
    observation = torch.randn(5, 3)
    assert torch.equal(policy.act(observation, {}).action, trained.act(observation, {}).action)


def test_a_checkpoint_without_a_wrapper_loads_with_code_that_has_one(wrapped: Any) -> None:
    policy = load_policy(wrapped.save("0.1.1"), code="0.0.1", store=wrapped.store)
    assert policy.module is not None
    assert all(key.startswith("module.") for key in policy.module.state_dict())


def test_the_wrapper_is_one_finding_and_no_obstacle(wrapped: Any) -> None:
    found = diagnose(wrapped.save("0.0.1"), code="0.1.1", store=wrapped.store)
    assert found.would_load
    assert [(f.subject, f.severity) for f in found.of_stage("keys")] == [("module.", "note")]


def test_a_migration_leaves_the_wrapper_behind_also_in_the_optimizer(wrapped: Any) -> None:
    path = wrapped.save("0.0.1")
    report = migrate_archive(path, wrapped.folder / "new.mpt", code="0.1.1", store=wrapped.store)
    assert report.proof is not None and report.proof.held
    with open_archive(wrapped.folder / "new.mpt") as archive:
        assert not any(key.startswith("module.") for key in archive.tensors)
        assert "inp.net.weight" in str(archive.read_json("trainer/optimizer.json"))
        assert "module." not in str(archive.read_json("trainer/optimizer.json"))


def test_a_draft_says_the_wrapper_as_operations_without_a_question(wrapped: Any) -> None:
    draft = draft_revision(wrapped.save("0.0.1"), code="0.1.1", store=wrapped.store)
    assert draft.open_questions == 0


def test_the_trained_code_is_never_seen_through(wrapped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wrapped.save("0.0.1")
    monkeypatch.setattr("app_loader.load.find_wrapper", lambda have, want: None)
    load_policy(path, store=wrapped.store)
    with pytest.raises(RestoreError):
        load_policy(path, code="0.1.1", store=wrapped.store)


@pytest.fixture
def compiled(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The zoo with its revisions; its first and its last release also with the policy in a wrapper."""
    plain = history_zoo.policy_source

    def source(version: str, *, twist: str = "") -> str:
        wrapped = version in ("0.1.9", "0.3.9")
        text = str(plain("0.1.0" if version == "0.1.9" else version[:3] + ".0", twist=twist))
        if not wrapped:
            return text
        text = text.replace("        return self\n", "        return self._shell[0]\n", 1)
        begin = "        width = architecture."
        return text.replace(begin, "        self._shell = [nn.ModuleDict({'_orig_mod': self})]\n" + begin, 1)

    monkeypatch.setattr(history_zoo, "policy_source", source)
    zoo.add("0.1.9")
    zoo.add("0.3.9", revisions=history_zoo.revisions_source())
    return zoo


def test_revisions_are_followed_behind_a_wrapper(compiled: Any) -> None:
    path = compiled.save("0.1.9")
    with open_archive(path) as archive:
        assert all(key.startswith("_orig_mod.") for key in archive.tensors)
    policy = load_policy(path, code="0.3.0", store=compiled.store)
    assert policy.origin.revisions == ("r1_unwrap", "r2_join")
    assert "_orig_mod." in policy.origin.reason
    trained = load_policy(path, store=compiled.store)
    observation = torch.randn(5, 3)
    assert torch.equal(policy.act(observation, {}).action, trained.act(observation, {}).action)


@pytest.mark.parametrize(("old", "new"), [("0.1.9", "0.3.0"), ("0.1.0", "0.3.9"), ("0.1.9", "0.3.9")])
def test_a_migration_along_revisions_out_of_and_into_a_wrapper_is_proven(compiled: Any, old: str, new: str) -> None:
    path, target = compiled.save(old), compiled.folder / "new.mpt"
    report = migrate_archive(path, target, code=new, store=compiled.store)
    assert report.proof is not None and report.proof.held
    assert report.round_trip == "bytes equal"
    with open_archive(target) as archive:
        assert {key.startswith("_orig_mod.") for key in archive.tensors} == {new == "0.3.9"}
        document: Any = archive.read_json("trainer/optimizer.json")
        names = document["groups"][0]["parameters"]
        assert {name.startswith("_orig_mod.") for name in names} == {new == "0.3.9"}
        slots = archive.read_tensor_member("trainer/optimizer.safetensors")
        prefix = "_orig_mod." if new == "0.3.9" else ""
        assert slots[f"{prefix}qkv.weight/exp_avg"].shape == (18, 6)
    assert diagnose(path, code=new, store=compiled.store).would_load


def test_revisions_that_fit_neither_way_are_told_as_they_stand_behind_the_wrapper(compiled: Any) -> None:
    wrong = history_zoo.revisions_source().replace("inp.net.{leaf}", "no.net.{leaf}")
    compiled.add("0.3.8", revisions=wrong)
    with pytest.raises(MigrationError) as caught:
        load_policy(compiled.save("0.1.9"), code="0.3.8", store=compiled.store)
    assert len(caught.value.problems) == 1
    assert "no.net" in caught.value.problems[0]


TEMPLATES = """
from policy_interface.migrations import *
REVISIONS = (
    Revision(
        id="r1_unwrap", parents=(), since="0.2", kinds=("steady",), reviewed=True, summary="No module is inner.",
        irreversible="no name says any more which modules were inner ones",
        config=(SetSchemaVersion(old=1, new=2), RenameField(old="width", new="size")),
        tensors=(
            Rename(old="{where...}.net.{leaf}", new="{where...}.{leaf}"),
            Add(key="shift.weight", shape=(6,), init="ones", reason="nothing reads it yet"),
        ),
    ),
)
"""


def test_an_add_beside_templates_is_followed_behind_the_wrapper_and_proven(
    compiled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The templates fit in the wrapper too; the key that comes says where they were meant."""
    plain = history_zoo.policy_source
    layer = "        self.shift = nn.LayerNorm(width, bias=False)\n"
    critic = "        self.critic = nn.Linear(width, 1)\n"

    def source(version: str, *, twist: str = "") -> str:
        return str(plain("0.2.0", twist=twist)).replace(critic, critic + layer)

    path, target = compiled.save("0.1.9"), compiled.folder / "new.mpt"
    monkeypatch.setattr(history_zoo, "policy_source", source)
    compiled.add("0.2.5", revisions=TEMPLATES)
    report = migrate_archive(path, target, code="0.2.5", store=compiled.store)
    assert report.proof is not None and report.proof.held
    with open_archive(target) as archive:
        assert "shift.weight" in archive.tensors
        assert not any(key.startswith("_orig_mod.") for key in archive.tensors)
    policy = load_policy(path, code="0.2.5", store=compiled.store)
    assert "_orig_mod." in policy.origin.reason
    assert diagnose(path, code="0.2.5", store=compiled.store).would_load


@pytest.mark.parametrize(
    ("path", "old", "new", "moved"),
    [
        ("", "", "module.", "module"),
        ("body", "", "module.", "module.body"),
        ("module", "module.", "", ""),
        ("module.body", "module.", "", "body"),
        ("", "", "_orig_mod.module.", "_orig_mod.module"),
    ],
)
def test_the_version_of_a_module_moves_with_its_path_also_that_of_the_root(
    path: str, old: str, new: str, moved: str
) -> None:
    assert migrated._moved(path, old, new) == moved


def test_which_parameters_are_trained_is_what_the_code_says_also_after_a_migration(zoo: Any) -> None:
    source = history_zoo.policy_source("0.3.0").replace(
        "        self.critic = nn.Linear(width, 1)\n",
        "        self.critic = nn.Linear(width, 1)\n        self.critic.weight.requires_grad_(False)\n",
    )
    plain = history_zoo.policy_source
    history_zoo.policy_source = lambda version, **more: source
    try:
        zoo.add("0.3.3", revisions=history_zoo.revisions_source())
    finally:
        history_zoo.policy_source = plain
    path, target = zoo.save("0.1.0"), zoo.folder / "new.mpt"
    migrate_archive(path, target, code="0.3.3", store=zoo.store)
    for policy in (load_policy(path, code="0.3.3", store=zoo.store), load_policy(target, store=zoo.store)):
        assert policy.module is not None
        frozen = {name for name, value in policy.module.named_parameters() if not value.requires_grad}
        assert frozen == {"critic.weight"}
