"""Drafting: few rules for what is certain, a question for what is not, and trial where both codes run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from app_loader.errors import MigrationError
from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft import draft_revision, trial
from app_loader.migration.draft.compress import compress_renames
from app_loader.migration.draft.operations import certain_operations, open_operations
from app_loader.migration.draft.source_renames import find_renames
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from policy_interface.migrations import Add, Cat, Choose, KeyTemplate, Rename, Revision


def executed(text: str) -> Revision:
    names: dict[str, Any] = {}
    exec(compile(text, "revision.py", "exec"), names)
    found = names["REVISION"]
    assert isinstance(found, Revision)
    return found


def moved(rules: list[Rename], keys: list[str]) -> dict[str, str]:
    found = {}
    for rule in rules:
        for key in keys:
            fields = KeyTemplate(rule.old).match(key)
            if fields is not None:
                found[key] = KeyTemplate(rule.new).fill(fields)
    return found


def test_many_renames_become_few_rules() -> None:
    olds = [f"h.{i}.{part}.{leaf}" for i in range(12) for part in ("ln", "fc") for leaf in ("weight", "bias")]
    wanted = {key: key.replace("h.", "blocks.").replace(".ln.", ".norm.") for key in olds}
    rules = compress_renames(wanted, olds, list(wanted.values()))
    assert len(rules) == 2
    assert moved(rules, olds) == wanted


def test_a_rule_never_touches_a_key_that_stays() -> None:
    olds = ["a.x.weight", "a.y.weight", "b.x.weight"]
    wanted = {"a.x.weight": "c.x.weight"}
    rules = compress_renames(wanted, olds, ["c.x.weight", "a.y.weight", "b.x.weight"])
    assert moved(rules, olds) == wanted


def test_the_source_shows_a_renamed_attribute() -> None:
    old = "class A:\n    def __init__(self):\n        self.body = make(3)\n        self.head = make(1)\n"
    found = find_renames({"a.py": old}, {"a.py": old.replace("self.body", "self.trunk")})
    assert [(r.owner, r.old, r.new) for r in found] == [("A", "body", "trunk")]


def test_two_attributes_of_one_right_side_are_not_told_apart() -> None:
    old = "class A:\n    def __init__(self):\n        self.a = make(3)\n        self.b = make(3)\n"
    new = old.replace("self.a", "self.c").replace("self.b", "self.d")
    assert find_renames({"a.py": old}, {"a.py": new}) == []


def test_a_draft_without_trial_asks_what_no_signature_settles(zoo: Any) -> None:
    zoo.add("0.3.1")
    draft = draft_revision(zoo.save("0.1.0"), code="0.3.1", store=zoo.store, trial=False)
    revision = executed(draft.text)
    assert not revision.reviewed
    assert {op.key for op in revision.open_questions} == {
        f"layers.{i}.{leaf}" for i in range(3) for leaf in ("weight", "bias")
    }
    assert Cat(parts=("query.weight", "key.weight", "value.weight"), whole="qkv.weight") in revision.tensors


def test_trial_against_the_witness_settles_an_equal_width_shift(zoo: Any) -> None:
    zoo.add("0.3.1")
    draft = draft_revision(zoo.save("0.1.0"), code="0.3.1", store=zoo.store)
    assert executed(draft.text).open_questions == ()
    assert draft.open_questions == 1  # whether the field 'width' is called 'size' now
    sources = {match.new: match.old for match in draft.matches}
    assert sources["layers.1.weight"] == "layers.0.weight"
    assert sources["layers.2.bias"] == "layers.1.bias"
    added = [op.key for op in executed(draft.text).tensors if isinstance(op, Add)]
    assert added == ["layers.0.weight", "layers.0.bias"]


def test_a_draft_says_the_config_as_operations(zoo: Any) -> None:
    zoo.add("0.3.1")
    draft = draft_revision(zoo.save("0.1.0"), code="0.3.1", store=zoo.store)
    assert {type(op).__name__ for op in executed(draft.text).config} >= {"SetSchemaVersion", "DropField", "AddField"}


@pytest.mark.parametrize("trial", [True, False])
def test_a_draft_is_never_marked_as_reviewed(zoo: Any, trial: bool) -> None:
    zoo.add("0.3.1")
    draft = draft_revision(zoo.save("0.2.0"), code="0.3.1", store=zoo.store, trial=trial)
    assert not executed(draft.text).reviewed
    assert not any(isinstance(op, Choose) for op in draft.tensors) or not trial


def test_a_draft_says_when_something_changed_that_no_key_shows(zoo: Any) -> None:
    zoo.add("0.2.1", twist=".flip(-1)")
    draft = draft_revision(zoo.save("0.2.0"), code="0.2.1", store=zoo.store)
    assert draft.open_questions == 0
    assert "NOT met" in draft.summary
    assert "NOT met" in draft.text


def test_a_draft_to_code_that_computes_the_same_meets_the_witness(zoo: Any) -> None:
    zoo.add("0.2.1")
    draft = draft_revision(zoo.save("0.2.0"), code="0.2.1", store=zoo.store)
    assert draft.open_questions == 0
    assert "NOT met" not in draft.summary


def test_every_way_to_assign_equal_layers_is_tried_exactly_once() -> None:
    def side(prefix: str) -> list[TensorInfo]:
        widths = {"a": 2, "b": 3}
        return [
            TensorInfo(key=f"{prefix}{name}{i}.weight", shape=(width, width), dtype="float32", kind="parameter")
            for name, width in widths.items()
            for i in range(2)
        ]

    ways = [
        tuple(sorted(trial._joined(way).items()))
        for way in trial._assignments(list(trial._groups(side("new_"), side("old_"))))
    ]
    assert len(ways) == len(set(ways)) == 4
    assert all(new.removeprefix("new_") == old.removeprefix("old_") for new, old in ways[0])
    assert list(trial._assignments([])) == [()]


def test_what_two_arrangements_meet_alike_stays_open_and_the_rest_is_settled(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.add("0.3.1")
    path = zoo.save("0.1.0")
    # Beginning as zeros, a layer that adds nothing may stand at any place of a residual list.
    monkeypatch.setattr("app_loader.migration.draft.trial.MADE_BYTES", 0)
    monkeypatch.setattr("app_loader.migration.draft.attempts.MADE_BYTES", 0)
    open_keys = {op.key for op in executed(draft_revision(path, code="0.3.1", store=zoo.store).text).open_questions}
    assert open_keys
    assert all(key.startswith("layers.") for key in open_keys)


def test_a_policy_that_is_too_large_to_be_tried_leaves_questions_and_claims_nothing(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.add("0.3.1")
    path = zoo.save("0.1.0")
    monkeypatch.setattr("app_loader.migration.draft.trial.LIMIT_BYTES", 100)
    draft = draft_revision(path, code="0.3.1", store=zoo.store)
    assert len(executed(draft.text).open_questions) == 6
    assert sum("too many" in said for said in draft.trial) == 2
    assert draft.trial[0] in draft.summary
    assert "NOT met" not in draft.summary


def test_a_trial_that_takes_too_long_claims_nothing_and_says_so(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.add("0.3.1")
    path = zoo.save("0.1.0")
    monkeypatch.setattr("app_loader.migration.draft.tries.time.monotonic", iter(range(0, 10**9, 1000)).__next__)
    draft = draft_revision(path, code="0.3.1", store=zoo.store)
    assert len(executed(draft.text).open_questions) == 6
    assert sum("120 seconds" in said for said in draft.trial) == 2
    assert all(f"# {said}" in draft.text for said in draft.trial)


def test_a_policy_too_large_for_both_codes_is_tried_against_the_witness_and_the_draft_says_why(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.add("0.3.1")
    path = zoo.save("0.1.0")
    monkeypatch.setattr("app_loader.migration.draft.attempts.MADE_BYTES", 0)
    draft = draft_revision(path, code="0.3.1", store=zoo.store)
    assert "at most 0 MB" in draft.trial[0]
    assert "against the witness" in draft.trial[1]


def test_old_code_that_is_not_at_hand_is_told(zoo: Any) -> None:
    zoo.add("0.3.1")
    path = zoo.save("0.1.0")
    gone = next(entry for entry in zoo.store.entries() if entry.version == "0.1.0")
    zoo.store.remove(gone)
    draft = draft_revision(path, code="0.3.1", store=zoo.store)
    assert "0.1.0" in draft.trial[0]
    assert "against the witness" in draft.trial[1]


def info(key: str, *shape: int) -> TensorInfo:
    return TensorInfo(key=key, shape=shape, dtype="float32", kind="parameter")


def certain(new: str, old: Any, **more: Any) -> Match:
    return Match(new=new, old=old, confidence="auto", **more)


def made(ops: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = TensorState.of({key: LazyTensor.of(value) for key, value in tensors.items()})
    apply_tensor_ops(state, ops, {}, subject="test")
    return {key: lazy.make() for key, lazy in state.tensors.items()}


def test_a_name_that_something_else_takes_over_is_freed_first() -> None:
    old = [info("head.1.weight", 3), info("head.2.weight", 4)]
    new = [info("head.1.weight", 4), info("norm.weight", 3)]
    open_one = Match(new="norm.weight", old=None, confidence="abstain", candidates=("head.1.weight",))
    tensors = {"head.1.weight": torch.zeros(3), "head.2.weight": torch.ones(4)}
    half = made(certain_operations([certain("head.1.weight", "head.2.weight"), open_one], old, new), tensors)
    assert torch.equal(half["head.1.weight"], torch.ones(4))
    whole = [certain("head.1.weight", "head.2.weight"), certain("norm.weight", "head.1.weight")]
    assert made(certain_operations(whole, old, new), tensors).keys() == {"head.1.weight", "norm.weight"}
    dropped = [*certain_operations([certain("head.1.weight", "head.2.weight")], old, new[:1])]
    dropped += open_operations([certain("head.1.weight", "head.2.weight")], old, new[:1], None)
    assert made(dropped, tensors).keys() == {"head.1.weight"}


def test_a_part_whose_name_the_whole_of_others_takes_over_is_still_found() -> None:
    old = [info("a", 2, 3), info("b", 2, 3), info("c", 4, 3)]
    new = [info("b", 4, 3), info("d", 4, 3)]
    matches = [certain("b", "c"), certain("d", ("a", "b"), op="cat", dim=0)]
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(2, 3), "c": torch.full((4, 3), 2.0)}
    found = made(certain_operations(matches, old, new), tensors)
    assert torch.equal(found["b"], tensors["c"])
    assert torch.equal(found["d"], torch.cat([tensors["a"], tensors["b"]]))


def test_a_beginning_is_not_claimed_where_an_old_tensor_may_be_meant() -> None:
    fresh: Any = {"norm.weight": "ones", "norm.bias": "zeros", "extra": "zeros"}
    news = [info("norm.weight", 3), info("norm.bias", 3), info("extra", 5)]
    assert trial.without_rivals(fresh, news, [info("old_norm.weight", 3)]) == {"extra": "zeros"}
    assert trial.without_rivals(fresh, news, []) == fresh


def test_revisions_that_cannot_be_imported_are_an_error_with_their_line(zoo: Any) -> None:
    zoo.add("0.3.7", revisions="REVISIONS = (\n    RenameField,\n)\n")
    with pytest.raises(MigrationError) as caught:
        draft_revision(zoo.save("0.1.0"), code="0.3.7", store=zoo.store)
    assert "NameError" in caught.value.problems[0]
    assert "line 2" in caught.value.problems[0]
