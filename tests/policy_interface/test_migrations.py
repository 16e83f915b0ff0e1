"""Revisions as data: templates, operations and their inverses, the graph and what it refuses."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_interface.migrations import (
    Add,
    AddAction,
    AddField,
    Alias,
    Cast,
    Cat,
    Choose,
    Drop,
    DropField,
    InvalidMigrationError,
    KeyTemplate,
    MapField,
    Reindex,
    Rename,
    RenameAction,
    RenameFeature,
    RenameField,
    RescaleFeature,
    Reshape,
    Resize,
    Revision,
    RevisionGraph,
    SetSchemaVersion,
    Split,
    Stack,
    Transpose,
)

DOCUMENT = {"kind": "mlp", "schema_version": 1, "config": {"sizes": [8], "body": {"act": "tanh"}}}
RULES: dict[str, Any] = {
    "features": [{"name": "x", "id": 0, "scale": 2.0}],
    "actions": {"kind": "discrete", "choices": [{"name": "left", "id": 0}, {"name": "right", "id": 1}]},
}
REVERSIBLE = [
    Rename(old="a.{rest...}", new="b.{rest...}"),
    Cat(parts=("{p...}.q", "{p...}.k"), whole="{p...}.qk"),
    Split(whole="qk", parts=("q", "k"), sizes=(2, 3)),
    Stack(parts=("e.0", "e.1"), whole="e"),
    Transpose(key="{p...}.weight"),
    Reshape(key="w", old=(4,), new=(2, 2)),
    Resize(key="w", dim=0, policy="append", by=2),
    Reindex(path="blocks", numbers=((0, 1), (1, 0))),
    Alias(key="head", of="embed"),
    Cast(key="w", old="float16", new="float32"),
]


def revision(name: str, *parents: str, **fields: Any) -> Revision:
    return Revision(id=name, parents=parents, since="1.0", kinds=("mlp",), summary="", **fields)


@given(st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), min_size=1, max_size=4))
def test_a_template_matches_whole_keys_only(tokens: list[str]) -> None:
    key = ".".join(["net", *tokens])
    assert KeyTemplate("net.{rest...}").match(key) == {"rest": ".".join(tokens)}
    assert KeyTemplate("net.{one}").match(key) == ({"one": tokens[0]} if len(tokens) == 1 else None)
    assert KeyTemplate("et.{rest...}").match(key) is None


def test_a_number_field_takes_numbers_only() -> None:
    template = KeyTemplate("blocks.{i:int}.w")
    assert template.match("blocks.12.w") == {"i": "12"}
    assert template.match("blocks.x.w") is None


def test_a_dot_in_a_template_is_a_dot() -> None:
    assert KeyTemplate("a.b").match("axb") is None


def test_a_rename_that_loses_a_field_is_refused() -> None:
    with pytest.raises(InvalidMigrationError) as caught:
        Rename(old="a.{i:int}.{rest...}", new="b.{rest...}")
    assert "i" in caught.value.problems[0]


@pytest.mark.parametrize("op", REVERSIBLE[:-1], ids=lambda op: type(op).__name__)
def test_undoing_twice_is_the_operation_itself(op: Any) -> None:
    assert op.inverted().inverted() == op


@pytest.mark.parametrize("op", REVERSIBLE, ids=lambda op: type(op).__name__)
def test_what_an_operation_produces_is_what_its_inverse_consumes(op: Any) -> None:
    assert op.inverted().consumes == op.produces


@pytest.mark.parametrize(
    "op", [Drop(key="w", reason="gone"), Cast(key="w", old="float32", new="float16"), Choose(key="w")], ids=repr
)
def test_what_loses_something_has_no_inverse(op: Any) -> None:
    with pytest.raises(InvalidMigrationError):
        op.inverted()


def test_an_added_tensor_may_be_dropped_again() -> None:
    undo = Add(key="w", shape=(2,), init="ones", reason="new gain").inverted()
    assert isinstance(undo, Drop)
    assert undo.recomputed


@pytest.mark.parametrize(
    "op",
    [
        RenameField(old="sizes", new="widths"),
        RenameField(old="body.act", new="body.activation"),
        AddField(path="body.gain", value=1.0),
        MapField(path="body.act", values=(("tanh", "Tanh"),)),
        SetSchemaVersion(old=1, new=2),
    ],
    ids=repr,
)
def test_a_config_operation_and_its_inverse_give_the_document_back(op: Any) -> None:
    changed = op.apply(DOCUMENT)
    assert changed != DOCUMENT
    assert op.inverted().apply(changed) == DOCUMENT


def test_a_config_operation_refuses_a_field_that_is_not_there() -> None:
    with pytest.raises(InvalidMigrationError):
        RenameField(old="nothing", new="widths").apply(DOCUMENT)


def test_a_field_with_another_value_than_the_droppable_one_is_refused() -> None:
    with pytest.raises(InvalidMigrationError):
        DropField(path="body.act", reason="", only="relu").apply(DOCUMENT)


@pytest.mark.parametrize(
    "op",
    [
        AddAction(name="wait"),
        RenameAction(old="left", new="west"),
        RenameFeature(old="x", new="position"),
        RescaleFeature(name="x", old=2.0, new=4.0),
    ],
    ids=repr,
)
def test_a_rules_operation_and_its_inverse_give_the_rules_back(op: Any) -> None:
    changed = op.apply(RULES)
    assert changed != RULES
    assert op.inverted().apply(changed) == RULES


def test_a_walk_goes_parents_first_and_leaves_out_what_is_done() -> None:
    left, right = revision("r2_left", "r1_root"), revision("r3_right", "r1_root")
    graph = RevisionGraph.of([revision("r4_meet", "r2_left", "r3_right"), revision("r1_root"), right, left])
    assert [r.id for r in graph.walk(["r2_left"], "r4_meet")] == ["r3_right", "r4_meet"]
    assert graph.walk([], "r4_meet")[0].id == "r1_root"
    assert graph.walk(["r4_meet"], "r4_meet") == ()


def test_several_heads_are_named() -> None:
    graph = RevisionGraph.of([revision("r1_root"), revision("r2_left", "r1_root"), revision("r3_right", "r1_root")])
    with pytest.raises(InvalidMigrationError) as caught:
        graph.get_head()
    assert "r2_left, r3_right" in caught.value.problems[0]


def test_a_missing_parent_and_a_doubled_id_are_both_named() -> None:
    with pytest.raises(InvalidMigrationError) as caught:
        RevisionGraph.of([revision("r1_root"), revision("r1_root"), revision("r2_next", "r9_lost")])
    assert len(caught.value.problems) == 2


def test_a_cycle_is_named() -> None:
    with pytest.raises(InvalidMigrationError) as caught:
        RevisionGraph.of([revision("r1_one", "r2_two"), revision("r2_two", "r1_one")])
    assert "r1_one, r2_two" in caught.value.problems[0]


def test_a_squash_is_known_by_the_names_that_it_replaces() -> None:
    squash = revision("r9_squash", replaces=("r1_old", "r2_old"))
    graph = RevisionGraph.of([squash, revision("r10_next", "r2_old")])
    assert [r.id for r in graph.walk(["r1_old"], "r10_next")] == ["r10_next"]


def test_an_archive_of_newer_code_is_refused_by_name() -> None:
    graph = RevisionGraph.of([revision("r1_root")])
    with pytest.raises(InvalidMigrationError) as caught:
        graph.walk(["r7_future"], "r1_root")
    assert "r7_future" in caught.value.problems[0]


def test_a_reviewed_revision_has_no_open_question() -> None:
    with pytest.raises(InvalidMigrationError):
        revision("r1_root", tensors=(Choose(key="w"),), reviewed=True)
    assert len(revision("r1_root", tensors=(Choose(key="w"),)).open_questions) == 1


def test_an_irreversible_revision_says_why() -> None:
    step = revision("r1_root", tensors=(Transpose(key="w"),), irreversible="numbers were rounded")
    with pytest.raises(InvalidMigrationError) as caught:
        step.inverted_tensors()
    assert "rounded" in caught.value.problems[0]


def test_the_error_survives_pickle() -> None:
    error = InvalidMigrationError("revision", ["one", "two"])
    again = pickle.loads(pickle.dumps(error))
    assert (again.subject, again.problems, str(again)) == (error.subject, error.problems, str(error))
