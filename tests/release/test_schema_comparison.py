from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from tools.release.promises.change import Bump
from tools.release.promises.schema import compare_schemas


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: float = 1.0


class Tree(BaseModel):
    children: list[Tree] = []


class WiderTree(BaseModel):
    children: list[WiderTree] = []
    label: str = ""


def told(old: Any, new: Any) -> list[tuple[str, Bump]]:
    """Return place and bump of every difference between models with one field `x` of these definitions."""
    models = [create_model("Model", **({} if field is None else {"x": field})) for field in (old, new)]
    schemas = [model.model_json_schema() for model in models]
    return [(change.where, change.bump) for change in compare_schemas("schema", "M", *schemas)]


@pytest.mark.parametrize(
    ("old", "new", "bump"),
    [
        ((int, 1), None, Bump.MAJOR),
        (None, (int, 1), Bump.MINOR),
        (None, (int, ...), Bump.MAJOR),
        ((int, 1), (int, 2), Bump.MAJOR),
        ((int, 1), (int, ...), Bump.MAJOR),
        ((Annotated[int, Field(ge=1)], 1), (Annotated[int, Field(ge=0)], 1), Bump.MINOR),
        ((Annotated[int, Field(ge=0)], 1), (Annotated[int, Field(ge=1)], 1), Bump.MAJOR),
        ((Annotated[int, Field(le=9)], 1), (int, 1), Bump.MINOR),
        ((int, 1), (Annotated[int, Field(le=9)], 1), Bump.MAJOR),
        ((Literal["a", "b"], "a"), (Literal["a", "b", "c"], "a"), Bump.MINOR),
        ((Literal["a", "b", "c"], "a"), (Literal["a", "b"], "a"), Bump.MAJOR),
        ((int, 1), (int | None, 1), Bump.MAJOR),
        ((list[int], []), (list[str], []), Bump.MAJOR),
    ],
)
def test_field_that_changed_asks_for_the_right_bump(old: Any, new: Any, bump: Bump) -> None:
    found = told(old, new)
    assert max(b for _, b in found) is bump
    assert all(place.startswith("M.x") for place, _ in found)


def test_alternatives_of_a_union_may_be_added_but_not_removed() -> None:
    one = (Circle, Circle())
    both = (Annotated[Circle | Square, Field(discriminator="kind")], Circle())
    three = (Annotated[Circle | Square | Literal["none"], Field()], Circle())
    two = (Annotated[Circle | Square, Field()], Circle())
    assert told(two, three) == [("M.x", Bump.MINOR)]
    assert told(three, two) == [("M.x", Bump.MAJOR)]
    assert told(both, both) == []
    assert max(bump for _, bump in told(both, one)) is Bump.MAJOR


def test_nested_change_is_told_with_its_path_and_recursion_ends() -> None:
    schemas = [model.model_json_schema() for model in (Tree, WiderTree)]
    schemas[1] = {**schemas[1], "$ref": "#/$defs/WiderTree"}
    found = list(compare_schemas("schema", "Tree", *schemas))
    assert {(change.where, change.bump) for change in found} == {("Tree.label", Bump.MINOR)}


def test_words_of_a_schema_do_not_count() -> None:
    old = {"title": "A", "description": "old", "type": "object", "properties": {"x": {"type": "integer"}}}
    new = {"title": "B", "description": "new", "type": "object", "properties": {"x": {"type": "integer"}}}
    assert list(compare_schemas("schema", "M", old, new)) == []
