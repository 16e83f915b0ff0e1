"""Observations and states over time: trees of tensors stacked, indexed and reset together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from policy_interface import State, flatten_state, map_state, unflatten_state
from torch import Tensor


def stack_trees(trees: Sequence[State]) -> State:
    """Return one tree whose leaves have a new first axis, time."""
    leaves = [flatten_state(tree) for tree in trees]
    return unflatten_state(trees[0], {path: torch.stack([step[path] for step in leaves]) for path in leaves[0]})


def flatten_time(tree: State) -> State:
    """Return the tree with the first two axes, time and environment, made one."""
    return map_state(lambda leaf: leaf.flatten(0, 1), tree)


def index_tree(tree: State, index: Tensor | int | slice) -> State:
    """Return the tree with every leaf indexed at its first axis."""
    return map_state(lambda leaf: leaf[index], tree)


def where_tree(condition: Tensor, chosen: State, other: State) -> State:
    """Return for each element of the batch `chosen` where the condition (bool [batch]) holds, else `other`."""
    mine, theirs = flatten_state(chosen), flatten_state(other)
    return unflatten_state(
        other,
        {
            path: torch.where(condition.view(-1, *[1] * (leaf.dim() - 1)), mine[path], leaf)
            for path, leaf in theirs.items()
        },
    )
