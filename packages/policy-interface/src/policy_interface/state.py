"""Recurrent state as an explicit pytree of tensors: flattened to named leaves and put together again.

A state is a tensor, or a mapping with string keys, a tuple or a list of states. The first axis of every tensor is the
batch. A policy without memory has the empty mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

State = Any
"""A pytree of tensors (see the module's docstring); Python's type system has no finite word for it."""


def flatten_state(state: State) -> dict[str, Tensor]:
    """Return the leaves by path: ``core.0`` for ``state["core"][0]``, ``""`` for a state that is one tensor."""
    return dict(_leaves(state, ""))


def unflatten_state(template: State, leaves: Mapping[str, Tensor]) -> State:
    """Return a state of the template's shape with these leaves.

    Raises:
        KeyError: a leaf of the template is missing.
    """
    return _rebuild(template, "", lambda path, _: leaves[path])


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Return the state with the function applied to every leaf."""
    return _rebuild(state, "", lambda _, leaf: function(leaf))


def _children(state: State) -> list[tuple[str, State]] | None:
    if isinstance(state, Mapping):
        return [(str(key), value) for key, value in state.items()]
    if isinstance(state, tuple | list):
        return [(str(index), value) for index, value in enumerate(state)]
    return None


def _leaves(state: State, path: str) -> Iterator[tuple[str, Tensor]]:
    children = _children(state)
    if children is None:
        yield path, state
        return
    for name, child in children:
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _rebuild(state: State, path: str, leaf: Callable[[str, Tensor], Tensor]) -> State:
    children = _children(state)
    if children is None:
        return leaf(path, state)
    built = [_rebuild(child, f"{path}.{name}" if path else name, leaf) for name, child in children]
    if isinstance(state, Mapping):
        return dict(zip(state, built, strict=True))
    if hasattr(state, "_fields"):  # a namedtuple takes its fields one by one
        return type(state)(*built)
    return type(state)(built)
