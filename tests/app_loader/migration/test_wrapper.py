"""A wrapper around the whole policy is seen through, told, and nothing else is."""

from __future__ import annotations

from typing import Any

import history_zoo
import pytest
import torch
from app_loader import load_policy
from app_loader.diagnosis import diagnose
from app_loader.errors import RestoreError
from app_loader.migration.draft import draft_revision
from app_loader.migration.write import migrate_archive
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
