"""The ways to make new tensors of old ones: one of each, several joined, a part of one, as their shapes allow.

No numbers are looked at; which way is right, running the codes has to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import islice, permutations, product
from math import prod

import torch
from torch import Tensor

from app_loader.matching import Match, TensorInfo

WAYS = 1024
"""How many ways to pair the tensors of two operations are looked at."""

PARTS = 4
"""How many old tensors one new one may be joined from."""


def find_ways(
    news: Sequence[TensorInfo],
    units: Sequence[Sequence[TensorInfo]],
    cut: AbstractSet[tuple[str, int | None]],
    *,
    in_order: bool = False,
) -> Iterator[list[Match]]:
    """Yield ways to make new tensors of old ones: of one unit each, of several joined, of a part of one.

    `in_order`: several are joined in the order in which they are given, all of them, and not in any.
    """
    for unit in units:
        yield from find_bijections(news, unit)
    smaller = [unit for unit in units if all(_part_of(new, unit) is not None for new in news)]
    for count in range(2, min(len(smaller), PARTS) + 1):
        orders = [smaller] if in_order else permutations(smaller, count)
        for joined in islice(orders, WAYS):
            whole = [_joined(new, joined) for new in news]
            if all(match is not None for match in whole):
                yield [match for match in whole if match is not None]
    for unit in units:
        yield from _cuts(news, unit, cut)


def find_bijections(news: Sequence[TensorInfo], olds: Sequence[TensorInfo]) -> Iterator[list[Match]]:
    """Yield ways to give each new tensor an old one of its own, those of equal leaf names first."""
    choices = [[match for old in olds for match in _alone(new, old)] for new in news]
    if prod(len(some) for some in choices) > WAYS:
        return
    ways = [list(way) for way in product(*choices) if len({match.old for match in way}) == len(way)]
    leaf = {t.key: t.key.rpartition(".")[2] for t in (*news, *olds)}
    yield from sorted(ways, key=lambda way: -sum(leaf[match.new] == leaf[str(match.old)] for match in way))


def _alone(new: TensorInfo, old: TensorInfo) -> Iterator[Match]:
    if new.kind != old.kind:
        return
    said = ("it meets the same numbers in both codes",)
    match = Match(new=new.key, old=old.key, confidence="suggest", evidence=said)
    if new.shape == old.shape:
        yield match
    elif [size for size in new.shape if size != 1] == [size for size in old.shape if size != 1]:
        yield replace(match, op="reshape")
    if len(new.shape) == len(old.shape) == 2 and new.shape == old.shape[::-1] and new.shape[0] > 1:
        yield replace(match, op="transpose")


def _part_of(new: TensorInfo, unit: Sequence[TensorInfo]) -> tuple[TensorInfo, int] | None:
    """Return the one tensor of a unit that can be a part of a new one, and along which axis."""
    fitting = []
    for old in unit:
        if old.kind == new.kind and len(old.shape) == len(new.shape):
            axes = [axis for axis, (o, n) in enumerate(zip(old.shape, new.shape, strict=True)) if o != n]
            if len(axes) == 1 and axes[0] < 2 and old.shape[axes[0]] < new.shape[axes[0]]:
                fitting.append((old, axes[0]))
    return fitting[0] if len(fitting) == 1 else None


def _joined(new: TensorInfo, units: Sequence[Sequence[TensorInfo]]) -> Match | None:
    """Return how a new tensor is made of one tensor of each unit, joined along one axis."""
    parts = [part for unit in units if (part := _part_of(new, unit)) is not None]
    axis = parts[0][1]
    if any(part[1] != axis for part in parts) or sum(part[0].shape[axis] for part in parts) != new.shape[axis]:
        return None
    said = ("the parts meet the same numbers in both codes and add up to it",)
    sources = tuple(part[0].key for part in parts)
    return Match(new=new.key, old=sources, confidence="suggest", op="cat", dim=axis, evidence=said)


def _cuts(
    news: Sequence[TensorInfo], unit: Sequence[TensorInfo], taken: AbstractSet[tuple[str, int | None]]
) -> Iterator[list[Match]]:
    """Yield ways to make new tensors of equal parts of one unit's tensors: all of the same part."""
    wholes = []
    for new in news:
        fitting = [
            t
            for t in unit
            if t.kind == new.kind
            and new.shape
            and t.shape[1:] == new.shape[1:]
            and len(t.shape) == len(new.shape)
            and t.shape[0] > new.shape[0]
            and t.shape[0] % new.shape[0] == 0
        ]
        if len(fitting) != 1:
            return
        wholes.append(fitting[0])
    count = min(whole.shape[0] // new.shape[0] for whole, new in zip(wholes, news, strict=True))
    said = ("the whole meets the same numbers in the old code",)
    for part in range(count):
        starts = [part * new.shape[0] for new in news]
        if any((whole.key, start) in taken for whole, start in zip(wholes, starts, strict=True)):
            continue
        yield [
            Match(new=new.key, old=whole.key, confidence="suggest", op="slice", dim=0, start=start, evidence=said)
            for new, whole, start in zip(news, wholes, starts, strict=True)
        ]


def sources_of(match: Match) -> tuple[str, ...]:
    """Return the keys of the old tensors that a match takes."""
    return (match.old,) if isinstance(match.old, str) else tuple(str(part) for part in match.old or ())


def made(match: Match, tensors: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Return the numbers that a match gives.

    Args:
        match: of any op that a match may have.
        tensors: the old ones.
        like: has the new tensor's shape.
    """
    if match.op == "stack(cat0)" and match.old is not None:
        return torch.stack([torch.cat([tensors[str(key)].detach() for key in row]) for row in match.old])
    parts = [tensors[key].detach() for key in sources_of(match)]
    if match.op == "stack":
        return torch.stack(parts, dim=match.dim or 0)
    if match.op == "cat":
        return torch.cat(parts, dim=match.dim or 0)
    if match.op == "transpose":
        return parts[0].t()
    if match.op == "slice":
        return parts[0].narrow(match.dim or 0, match.start or 0, like.shape[match.dim or 0])
    return parts[0].reshape(like.shape)
