"""A field that took another name is found by the tensors that its value shapes, and a person is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from app_loader.diagnosis import Finding
from app_loader.matching import TensorInfo
from app_loader.migration.draft.config_lines import config_lines
from app_loader.migration.draft.renamed_fields import follow_renamed


def tensors(width: int) -> list[TensorInfo]:
    return [TensorInfo(key="w", shape=(width, 4)), TensorInfo(key="b", shape=(width,))]


def build(document: Mapping[str, Any]) -> Sequence[TensorInfo] | None:
    body = document["config"]["body"]
    return None if body.get("width") == "no number" else tensors(body.get("width", 64))


def findings(value: Any, *candidates: str) -> list[Finding]:
    told: dict[str, Any] = {"stage": "config", "severity": "error", "message": "", "old": value}
    unknown = Finding(subject="body.hidden", candidates=candidates, change="unknown", **told)
    new = [Finding(subject=f"body.{name}", change="new", **told) for name in candidates]
    return [unknown, *new]


def test_a_value_that_shapes_tensors_moves_to_the_field_that_makes_their_shapes() -> None:
    document = {"config": {"body": {"hidden": 128}}}
    moved, found = follow_renamed(document, findings(128, "depth", "width"), tensors(128), build)
    assert moved["config"] == {"body": {"width": 128}}
    assert document["config"] == {"body": {"hidden": 128}}
    assert [(each.subject, each.change, each.new) for each in found] == [
        ("body.hidden", "moved", "width"),
        ("body.depth", "new", None),
    ]
    line = config_lines(found)[0]
    assert (line.operation, line.is_question) == ("RenameField", True)
    assert line.text.startswith("RenameField(old='body.hidden', new='body.width'),")


@pytest.mark.parametrize("value", [64, "no number"])
def test_a_value_that_changes_no_shape_or_builds_nothing_stays_a_question(value: Any) -> None:
    document = {"config": {"body": {"hidden": value}}}
    before = findings(value, "width")
    moved, found = follow_renamed(document, before, tensors(64), build)
    assert moved == document
    assert list(found) == before
    assert config_lines(found)[0].offered == ("RenameField",)
