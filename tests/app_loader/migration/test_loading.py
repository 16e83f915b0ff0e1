"""Old checkpoints with newer code: reviewed revisions are walked, everything else is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from app_loader import load_policy
from app_loader.errors import MigrationError, WitnessError
from history_zoo import revisions_source
from mpt_format import open_archive


def outputs(policy: Any, seed: int = 5) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return policy.act(torch.randn(8, 3, generator=generator), {})


def test_a_checkpoint_follows_the_reviewed_revisions(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    old = load_policy(path, store=zoo.store)
    new = load_policy(path, code="0.3.0", store=zoo.store, verify="structure")
    assert new.origin.revisions == ("r1_unwrap", "r2_join")
    was, now = outputs(old), outputs(new)
    assert torch.equal(was.action, now.action)
    assert torch.allclose(was.logits, now.logits[:, :3], atol=1e-6)
    assert torch.allclose(was.value, now.value, atol=1e-6)
    assert new.rules.actions.names == ("left", "stay", "right", "wait")


def test_the_code_it_was_trained_with_needs_no_revision(zoo: Any) -> None:
    assert load_policy(zoo.save("0.1.0"), store=zoo.store).origin.revisions == ()


def test_an_archive_remembers_the_revision_that_it_follows(zoo: Any) -> None:
    path = zoo.save("0.3.0")
    with open_archive(path) as archive:
        assert archive.manifest.migration["head"] == "r2_join"
    assert load_policy(path, code="0.3.0", store=zoo.store).origin.revisions == ()


def test_a_second_release_walks_only_what_is_left(zoo: Any) -> None:
    path = zoo.save("0.2.0")
    loaded = load_policy(path, code="0.3.0", store=zoo.store, verify="structure")
    assert loaded.origin.revisions == ("r2_join",)


def test_an_unreviewed_draft_is_refused_by_name(zoo: Any) -> None:
    zoo.add("0.3.1", revisions=revisions_source(reviewed=False))
    with pytest.raises(MigrationError) as caught:
        load_policy(zoo.save("0.1.0"), code="0.3.1", store=zoo.store)
    assert "r2_join" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("parents", "named"),
    [(("r1_unwrap",), "r2_join, r3_other"), (("r9_lost",), "r9_lost")],
    ids=["several heads", "missing parent"],
)
def test_a_broken_history_is_refused_with_names(zoo: Any, parents: tuple[str, ...], named: str) -> None:
    extra = (
        f"OTHER = Revision(id='r3_other', parents={parents!r}, since='0.3', kinds=('x1',), summary='', reviewed=True)"
    )
    zoo.add("0.3.2", revisions=revisions_source(more=", OTHER", extra=extra))
    with pytest.raises(MigrationError) as caught:
        load_policy(zoo.save("0.1.0"), code="0.3.2", store=zoo.store)
    assert named in caught.value.problems[0]


def test_a_blocked_revision_says_why_nothing_can_follow(zoo: Any) -> None:
    extra = (
        "OTHER = Revision(id='r3_other', parents=('r2_join',), since='0.3', kinds=('steady',), summary='', "
        "reviewed=True, blocked='the core was replaced')"
    )
    zoo.add("0.3.3", revisions=revisions_source(more=", OTHER", extra=extra))
    with pytest.raises(MigrationError) as caught:
        load_policy(zoo.save("0.1.0"), code="0.3.3", store=zoo.store)
    assert "the core was replaced" in caught.value.problems[0]


def test_a_change_that_no_key_or_shape_shows_is_caught_by_the_witness_alone(zoo: Any) -> None:
    zoo.add("0.2.1", revisions=None, twist=".flip(-1)")
    path = zoo.save("0.2.0")
    assert load_policy(path, code="0.2.1", store=zoo.store, verify="structure").origin.version == "0.2.1"
    with pytest.raises(WitnessError):
        load_policy(path, code="0.2.1", store=zoo.store)
