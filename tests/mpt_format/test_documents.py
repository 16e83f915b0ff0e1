"""Strict JSON and YAML: what is written reads back as it was; what is accepted means what other readers think."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format import MalformedDocumentError
from mpt_format.strict_json import format_json, parse_json, validate_json
from mpt_format.strict_yaml import format_yaml, parse_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


def documents(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


@settings(max_examples=200, deadline=None)
@given(documents(TEXTS))
def test_json_reads_back_as_it_was(value: Any) -> None:
    assert not list(validate_json(value, where="x"))
    data = format_json(value)
    assert repr(parse_json(data, subject="x")) == repr(value)
    assert repr(json.loads(data)) == repr(value)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(PLAIN, documents(PLAIN), max_size=4))
def test_yaml_reads_back_as_it_was_or_is_refused_before_writing(value: dict[str, Any]) -> None:
    try:
        text = format_yaml(value)
    except MalformedDocumentError:
        return  # integers beyond 20 digits and the like never occur; YAML cannot say every character plainly
    assert repr(parse_yaml(text.encode(), subject="x")) == repr(value)
    assert repr(yaml.safe_load(text)) == repr(value)


@settings(max_examples=300, deadline=None)
@given(st.text("ab:- \n'\"[]{},#0123456789.eE+_~!&*|>truefalsn", max_size=40))
def test_yaml_that_is_accepted_means_what_safe_load_thinks(text: str) -> None:
    try:
        ours = parse_yaml(text.encode(), subject="x")
    except MalformedDocumentError:
        return
    # with the scanner that we use: libyaml and PyYAML's own disagree about oddities such as an empty block scalar `>#`
    assert repr(ours) == repr(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("1_000", "refused"),
        ("0x10", "refused"),
        ("'1'", "1"),
        ("1e-5", "1e-5"),
        ("1.0e-5", 1e-5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("2020-01-01", "refused"),
        ("=", "refused"),
    ],
)
def test_yaml_scalars(text: str, value: Any) -> None:
    if value == "refused":
        with pytest.raises(MalformedDocumentError):
            parse_yaml(f"a: {text}".encode(), subject="x")
    else:
        assert parse_yaml(f"a: {text}".encode(), subject="x") == {"a": value}


def test_problems_name_the_path_of_every_offender() -> None:
    value = {"a": [1, {"b": (1, 2)}], "c": {1: 2}, "d": float("nan"), "e": {"f": object()}, "g": 1 << 70}
    found = {problem.where: problem.message for problem in validate_json(value, where="extra")}
    assert found.keys() == {"extra['a'][1]['b']", "extra['c']", "extra['d']", "extra['e']['f']", "extra['g']"}
    assert "list(...)" in found["extra['a'][1]['b']"]
