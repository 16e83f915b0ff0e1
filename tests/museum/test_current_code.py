"""Every exhibit follows the reviewed revisions to today's code and is proven, or is refused with the right reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from app_loader import Store, load_policy
from app_loader.diagnosis import diagnose
from app_loader.errors import MigrationError, WitnessError
from app_loader.migration.draft import draft_revision
from app_loader.migration.write import migrate_archive
from mpt_format import open_archive
from policy_interface.migrations import Cat, Rename, RevisionGraph

MUSEUM = Path(__file__).resolve().parents[2] / "museum"
OLD = sorted(path.relative_to(MUSEUM).as_posix() for path in MUSEUM.glob("0.[12].0/*.mpt"))
FOLLOWS = [name for name in OLD if "morphogenetic" not in name]
REFUSED = [name for name in OLD if "morphogenetic" in name]


@pytest.mark.parametrize("name", FOLLOWS)
def test_an_exhibit_is_migrated_to_current_code_and_proven(name: str, store: Store, tmp_path: Path) -> None:
    report = migrate_archive(MUSEUM / name, tmp_path / "new.mpt", code="0.3.0", store=store)
    assert report.round_trip == "bytes equal"
    assert report.idempotent
    assert report.proof is not None
    assert report.proof.held
    assert report.proof.on_fresh
    assert load_policy(tmp_path / "new.mpt", store=store, verify="witness").origin.version == "0.3.0"


@pytest.mark.parametrize("name", FOLLOWS)
def test_an_exhibit_loads_with_current_code_and_says_which_revisions_it_followed(name: str, store: Store) -> None:
    loaded = load_policy(MUSEUM / name, code="0.3.0", store=store)
    assert "r0004_unwrap_heads" in loaded.origin.revisions
    assert ("r0001_name_towers" in loaded.origin.revisions) == ("0.1.0/mlp" in name)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_follow_is_refused_with_its_reason(name: str, store: Store) -> None:
    with pytest.raises(MigrationError) as caught:
        load_policy(MUSEUM / name, code="0.3.0", store=store)
    assert "GroupNorm" in caught.value.problems[0]
    found = diagnose(MUSEUM / name, code="0.3.0", store=store)
    assert not found.would_load
    assert "GroupNorm" in found.of_stage("revisions")[0].message


def test_the_gain_of_a_seed_is_said_once_for_each_channel(store: Store) -> None:
    path = MUSEUM / "0.1.0/morphogenetic.mpt"
    loaded = load_policy(path, code="0.2.0", store=store)
    assert loaded.origin.revisions == ("r0003_gain_per_channel",)
    assert loaded.module is not None
    gain = loaded.module.state_dict()["slots.mid.seed.gain"]
    with open_archive(path) as archive:
        assert torch.equal(gain, archive.read_tensors()["slots.mid.seed.gain"].expand(32))


@pytest.fixture
def without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo as if nobody had written a revision."""
    for module in ("app_loader.revisions.route", "app_loader.diagnosis.revisions_stage"):
        monkeypatch.setattr(sys.modules[module], "read_known_history", lambda code: RevisionGraph({}))


@pytest.mark.usefixtures("without_history")
def test_the_change_that_no_key_or_shape_shows_is_caught_by_the_witness_and_by_nothing_else(store: Store) -> None:
    path = MUSEUM / "0.1.0/token_recurrent.mpt"
    assert load_policy(path, code="0.2.0", store=store, verify="structure").origin.revisions == ()
    with pytest.raises(WitnessError):
        load_policy(path, code="0.2.0", store=store)
    found = diagnose(path, code="0.2.0", store=store)
    assert {finding.stage for finding in found.findings if finding.severity == "error"} == {"behaviour"}


@pytest.mark.usefixtures("without_history")
def test_a_draft_finds_by_itself_what_the_reviewed_revisions_say(store: Store) -> None:
    tokens = draft_revision(MUSEUM / "0.2.0/token_recurrent.mpt", code="0.3.0", store=store)
    assert tokens.open_questions == 0
    parts = tuple(f"encoder.attention.{part}.weight" for part in ("query", "key", "value"))
    assert Cat(parts=parts, whole="encoder.attention.qkv.weight") in tokens.tensors
    towers = draft_revision(MUSEUM / "0.1.0/mlp_actor_critic.mpt", code="0.2.0", store=store)
    assert set(towers.tensors) == {
        Rename(old="policy_net.{rest...}", new="actor.{rest...}"),
        Rename(old="value_net.{rest...}", new="critic.{rest...}"),
    }


def test_what_reviewed_revisions_carry_needs_no_draft(store: Store) -> None:
    drafted = draft_revision(MUSEUM / "0.2.0/token_recurrent.mpt", code="0.3.0", store=store)
    assert (drafted.tensors, drafted.open_questions) == ((), 0)
    assert "r0005_fuse_query_key_value" in drafted.text


@pytest.mark.usefixtures("without_history")
def test_an_equal_key_that_means_another_layer_is_not_taken_for_the_same(store: Store) -> None:
    drafted = draft_revision(MUSEUM / "0.2.0/mlp_actor_critic.mpt", code="0.3.0", store=store, trial=False)
    sources = {match.new: match.old for match in drafted.matches if match.confidence == "auto"}
    assert sources.get("actor.1.weight", "actor.2.weight") == "actor.2.weight"
