"""Families: tensors that differ only in their places in numbered lists, matched as one.

`blocks.0.fc.weight` to `blocks.11.fc.weight` are one family when they have one kind of module and like neighbours, and
when the list elements that hold them have the same names below. Two families can be one another when their places are
the same up to renumbering and their shapes are the same at each; their members then pair in order. What holds for one
member holds for all, which makes matching fast, and a pairing that repeats is evidence that a single one is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app_loader.matching._side import Side

Places = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Tensors of one part in repeated modules.

    Attributes:
        keys: Their keys, by place.
        shapes: Their shapes, by place.
        numbers: The numbers in their path, by place.
        places: The numbers as ranks; levels that all members share are left out.
    """

    keys: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    numbers: Places
    places: Places


def find_families(side: Side, keys: Iterable[str], *, one_shape: bool) -> dict[str, Family]:
    """Group keys into families, by the first key of each; of tensors of one shape, or of whatever shapes."""
    groups: dict[object, list[str]] = defaultdict(list)
    for key in keys:
        tensor = side.by_key[key]
        unit = side.unit_of[key] if one_shape else tuple(side.unit_keys_of(key))
        cell = (template(key), tensor.kind, tensor.dtype, tensor.module_type, tensor.shape if one_shape else ())
        groups[(cell, unit, side.element_names(key))].append(key)
    families = [_family(side, members) for members in groups.values()]
    return {family.keys[0]: family for family in families}


def alone(side: Side, keys: Iterable[str]) -> dict[str, Family]:
    """Let every key be its own family."""
    return {key: _family(side, [key]) for key in keys}


def _family(side: Side, members: Iterable[str]) -> Family:
    ordered = sorted((list_numbers(key), key) for key in members)
    numbers = tuple(place for place, _ in ordered)
    keys = tuple(key for _, key in ordered)
    shapes = tuple(side.by_key[key].shape for key in keys)
    return Family(keys, shapes, numbers, as_ranks(numbers))


def template(key: str) -> str:
    """The key with its list numbers left out."""
    return ".".join("#" if token.isdecimal() else token for token in key.split("."))


def list_numbers(key: str) -> tuple[int, ...]:
    """The numbers of a key that are places in lists."""
    return tuple(int(token) for token in key.split(".") if token.isdecimal())


def as_ranks(numbers: Sequence[tuple[int, ...]]) -> Places:
    """Replace numbers by their ranks among their level's, and leave out levels that have one number only."""
    levels = []
    for level in zip(*numbers, strict=True):
        ranks = {number: rank for rank, number in enumerate(sorted(set(level)))}
        if len(ranks) > 1:
            levels.append([ranks[number] for number in level])
    return tuple(zip(*levels, strict=True)) if levels else ((),) * len(numbers)
