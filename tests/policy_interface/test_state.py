from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_interface import flatten_state, map_state, unflatten_state

Pair = namedtuple("Pair", ["hidden", "cell"])
STATES = st.recursive(
    st.integers(0, 9).map(lambda n: torch.full((2,), n)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner).map(lambda both: Pair(*both))
        | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


def shape_of(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: shape_of(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state).__name__, [shape_of(value) for value in state]
    return state.tolist()


@given(state=STATES)
def test_state_round_trips_through_its_leaves(state: Any) -> None:
    assert shape_of(unflatten_state(state, flatten_state(state))) == shape_of(state)


@given(state=STATES)
def test_mapping_keeps_the_shape_and_reaches_every_leaf(state: Any) -> None:
    before = flatten_state(state)
    after = flatten_state(map_state(lambda leaf: leaf + 1, state))
    assert {path: (leaf + 1).tolist() for path, leaf in before.items()} == {
        p: leaf.tolist() for p, leaf in after.items()
    }


def test_leaves_are_named_by_their_path() -> None:
    leaf = torch.zeros(1)
    assert list(flatten_state({"core": Pair(leaf, [leaf, leaf]), "z": leaf})) == ["core.0", "core.1.0", "core.1.1", "z"]
    assert list(flatten_state(leaf)) == [""]
    assert flatten_state({}) == {}


def test_missing_leaf_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        unflatten_state({"a": torch.zeros(1)}, {})
