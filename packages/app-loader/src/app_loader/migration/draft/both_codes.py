"""Settle what the signatures leave open with both codes at hand: follow the numbers from weight to weight.

The old code acts with shaken weights, and what each weight meets is written down. Then the new code acts; the first
weight of it that is still open meets numbers that the old code has too, and only the weights that met them there can
be meant. Several that met the same (query, key and value; the two ways into a gate) are tried one after another, a few
arrangements at a time, those ahead that make most of what follows come out as in the old code.

What is found this way is a proposal. It counts when the new code does with it what the old one did, on the shaken
weights and on the archive's own, and of each tensor only when it matters: with another's numbers in its place the
outputs are others. What the observations cannot tell stays open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from typing import Any

import torch
from policy_interface import Policy
from torch import Tensor

from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.trace import Call, Print, Prints, Trace, trace
from app_loader.migration.draft.tries import Tries
from app_loader.migration.draft.ways import find_bijections, find_ways, made, sources_of
from app_loader.witness import Witness, replay_witness

BEAM = 24
"""How many arrangements are followed at once: those of four tensors that meet the same."""

BEHIND = 64
"""How many arrangements that fell behind the best are kept, to go on with when those lead to nothing."""

TRACED_STEPS = 3


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where some of the open tensors come from, and what the new code then does."""

    matches: Mapping[str, Match]
    trace: Trace
    agreed: int = 0
    said: int = 0
    """How many of its outputs the old code gave too: this ranks nothing, an early output may agree by chance."""
    passed: frozenset[str] = frozenset()
    """Open tensors for which nothing was found."""


@dataclass(slots=True, kw_only=True)
class BothCodes:
    """Two policies of two codes, the tensors of the one and the open ones of the other.

    Attributes:
        old: the old code's policy with `weights`.
        new: the new code's policy; its certain tensors are filled, whatever the open ones hold.
        weights: the old tensors by key, each in a storage of its own.
        open_new: new tensors without a source.
        open_old: old tensors without a use.
        shown: a witness that the old code recorded with `weights`.
        tries: how often the codes may be run.
    """

    old: Policy
    new: Policy
    weights: Mapping[str, Tensor]
    open_new: Sequence[TensorInfo]
    open_old: Sequence[TensorInfo]
    shown: Witness
    tries: Tries
    _live: dict[str, Tensor] = field(default_factory=dict)
    _begin: dict[str, Tensor] = field(default_factory=dict)
    _were: Trace = field(default_factory=lambda: Trace(()))
    _prints: Prints = field(default_factory=lambda: Prints(()))
    _outputs: Prints = field(default_factory=lambda: Prints(()))

    def __post_init__(self) -> None:
        assert self.old.module is not None and self.new.module is not None
        state = self.new.module.state_dict(keep_vars=True)
        self._live = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        self._begin = {t.key: self._live[t.key].detach().clone() for t in self.open_new}
        before = {k: v for k, v in self.old.module.state_dict(keep_vars=True).items() if isinstance(v, Tensor)}
        self._were = trace(self.old, self._observations(), before)
        self._prints = Prints(self._were.prints())
        self._outputs = Prints(self._were.outputs)

    def propose(self) -> Iterator[dict[str, Match]]:
        """Yield arrangements, best first; tensors for which nothing fits are left out."""
        beam, behind = [self._arranged({}, frozenset())], list[Arrangement]()
        while beam:
            following: list[Arrangement] = []
            for arrangement in beam:
                grown = list(self._grow(arrangement))
                following += grown
                if not grown:
                    yield dict(arrangement.matches)
            ranked = _ranked(following)
            beam = [a for a in ranked if a.agreed == ranked[0].agreed][:BEAM]
            behind = _ranked([*behind, *(a for a in ranked if a.agreed != ranked[0].agreed)])[:BEHIND]
            if not beam and behind:
                beam = [behind.pop(0)]

    def meets(self, matches: Mapping[str, Match], values: Mapping[str, Tensor] | None = None) -> bool:
        """Tell whether the new code does what was shown, with some tensors replaced."""
        self.tries.take()
        self.fill(matches, values or {})
        try:
            met = replay_witness(self.new, self.shown).met
        except (RuntimeError, ValueError):
            met = False
        self.tries.met += met
        return met

    @property
    def beginnings(self) -> Mapping[str, Tensor]:
        """What the open tensors of the new code begin as."""
        return self._begin

    def made_of(self, matches: Mapping[str, Match], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all open tensors of the new code, made of some old ones; what is not given begins as it begins."""
        given = {key: made(match, tensors, self._live[key]) for key, match in matches.items()}
        return {**self._begin, **given}

    def fill(self, matches: Mapping[str, Match], values: Mapping[str, Tensor]) -> None:
        """Put the numbers of an arrangement in; open tensors that it does not give get what they began with."""
        with torch.no_grad():
            for key, value in {**self.made_of(matches, self.weights), **values}.items():
                self._live[key].copy_(value)

    def matters(self, matches: Mapping[str, Match], key: str) -> bool:
        """Tell whether the outputs are others when another tensor's numbers stand at a key, or other ones."""
        return not any(self.meets(matches, {key: value}) for value in self._others(matches, key))

    def twins(self, matches: Mapping[str, Match]) -> dict[str, list[str]]:
        """Return, for each tensor, those with which it can change places without a difference in any output.

        Only tensors that meet the same numbers can.
        """
        traced = self._arranged(matches, frozenset()).trace
        meets: dict[str, set[Print]] = {key: set() for key in matches}
        for call in traced.calls:
            for key in meets.keys() & set(call.keys):
                meets[key].update(call.operands)
        found: dict[str, list[str]] = {key: [] for key in matches}
        for one, other in combinations(matches, 2):
            mine, theirs = matches[one], matches[other]
            if mine.op == theirs.op == "copy" and meets[one] & meets[other] and self._alike(one, other):
                swapped = {**matches, one: replace(theirs, new=one), other: replace(mine, new=other)}
                if self.meets(swapped):
                    found[one].append(other)
                    found[other].append(one)
        return found

    def _alike(self, one: str, other: str) -> bool:
        return self._live[one].shape == self._live[other].shape

    def _others(self, matches: Mapping[str, Match], key: str) -> list[Tensor]:
        """Return what may stand at a key instead: a rival's numbers, and its own moved about."""
        live = self._live[key]
        own = made(matches[key], self.weights, live)
        rivals = [
            self.weights[str(match.old)]
            for other, match in matches.items()
            if other != key and match.op == "copy" and self._alike(key, other)
        ]
        rivals += [self.weights[t.key] for t in self.open_old if t.shape == tuple(live.shape)]
        rivals = [rival for rival in rivals if rival.dtype == own.dtype and not torch.equal(rival, own)][:1]
        if not own.dtype.is_floating_point:
            return rivals or [own.flatten().flip(0).view(own.shape)] if own.numel() > 1 else rivals
        noise = torch.rand(own.shape, generator=torch.Generator().manual_seed(1)) - 0.5
        return [*rivals, own * (1 + noise.to(own.dtype) / 2)]

    def _observations(self) -> Any:
        steps = slice(0, TRACED_STEPS)
        named = {n: v[steps] for n, v in self.shown.tensors.items() if n.split(".")[0] == "observation"}
        return named.get("observation", {n.removeprefix("observation."): v for n, v in named.items()})

    def _arranged(self, matches: Mapping[str, Match], passed: frozenset[str]) -> Arrangement:
        self.tries.take()
        self.fill(matches, {})
        try:
            traced = trace(self.new, self._observations(), self._live)
        except (RuntimeError, ValueError, IndexError):
            traced = Trace(())
        agreed, said = self._prints.count(traced.prints()), self._outputs.count(traced.outputs)
        return Arrangement(dict(matches), traced, agreed, said, passed)

    def _grow(self, arrangement: Arrangement) -> Iterator[Arrangement]:
        """Give the next open tensors of an arrangement their sources, in every way that fits."""
        unit = self._next_unit(arrangement)
        if not unit:
            return
        infos = [info for info in self.open_new if info.key in unit]
        met = list(islice(self._met_alike(arrangement, infos), BEAM))
        if not met or self._more_places_thansources_of(arrangement, unit):
            yield replace(arrangement, passed=arrangement.passed | set(unit))
        for way in met:
            yield self._extended(arrangement, [*way, *self._companions(arrangement, way)])
        if met:
            return
        for way in islice(self._guessed(arrangement, infos), BEAM):
            grown = self._extended(arrangement, way)
            if (grown.agreed, grown.said) > (arrangement.agreed, arrangement.said):
                yield grown
                return

    def _companions(self, arrangement: Arrangement, way: Sequence[Match]) -> Iterator[Match]:
        """Yield sources for what else is open in a tensor's module: what stands beside its source.

        A bias that is added after the product shows nothing before it is right; together they show at once.
        """
        settled = arrangement.matches.keys() | arrangement.passed | {match.new for match in way}
        free = self._free(arrangement)
        for source in (key for match in way for key in sources_of(match)):
            free.pop(source, None)
        for match in way:
            owner = match.new.rpartition(".")[0]
            for info in self.open_new:
                if info.key.rpartition(".")[0] == owner and info.key not in settled:
                    beside = [[free[k] for k in free if k in self._beside(source)] for source in sources_of(match)]
                    guess = next(find_ways([info], beside, _cut(arrangement), in_order=True), ())
                    settled |= {info.key}
                    for found in guess:
                        free.pop(str(found.old), None)
                        yield found

    def _extended(self, arrangement: Arrangement, way: Iterable[Match]) -> Arrangement:
        matches = {**arrangement.matches, **{match.new: match for match in way}}
        return self._arranged(matches, arrangement.passed)

    def _next_unit(self, arrangement: Arrangement) -> tuple[str, ...]:
        """Return the first open tensors that act together and meet numbers that the old code has; else any first."""
        wanted = self._begin.keys() - arrangement.matches.keys() - arrangement.passed
        units = _units(arrangement.trace.calls, wanted)
        for unit, calls in units:
            if any(operand in self._prints for call in calls for operand in call.operands):
                return unit
        return units[0][0] if units else ()

    def _more_places_thansources_of(self, arrangement: Arrangement, unit: Sequence[str]) -> bool:
        """Tell whether something of a unit's shape may be new: more is open in the new code than the old one has."""
        shape = self._begin[unit[0]].shape
        used = {key for match in arrangement.matches.values() for key in sources_of(match)}
        left = self._begin.keys() - arrangement.matches.keys() - arrangement.passed
        sources = sum(t.shape == tuple(shape) and t.key not in used for t in self.open_old)
        return sum(self._begin[key].shape == shape for key in left) > sources > 0

    def _met_alike(self, arrangement: Arrangement, infos: Sequence[TensorInfo]) -> Iterator[list[Match]]:
        """Yield sources of tensors that act together: what met the same numbers in the old code."""
        keys = {info.key for info in infos}
        calls = [call for call in arrangement.trace.calls if keys.intersection(call.keys)]
        met = Prints(operand for call in calls for operand in call.operands)
        free = self._free(arrangement)
        units = [
            [free[key] for key in unit]
            for unit, olds in _units(self._were.calls, free)
            if any(operand in met for call in olds for operand in call.operands)
        ]
        yield from find_ways(infos, units, _cut(arrangement))

    def _guessed(self, arrangement: Arrangement, infos: Sequence[TensorInfo]) -> Iterator[list[Match]]:
        """Yield sources of tensors that met what the old code has not: what stood beside their neighbours' sources.

        A bias that the one code adds inside the product and the other after it is such a tensor. Last comes whatever
        has the shapes: a normalisation that the one code does before it picks a token and the other after meets more
        numbers in the one than in the other.
        """
        free = self._free(arrangement)
        owners = {info.key.rpartition(".")[0] for info in infos}
        for key, match in arrangement.matches.items():
            if key.rpartition(".")[0] in owners:
                beside = [[free[k] for k in free if k in self._beside(source)] for source in sources_of(match)]
                if all(beside):
                    yield from find_ways(infos, beside, _cut(arrangement), in_order=True)
        for unit, _ in _units(self._were.calls, free):
            if len(unit) == len(infos) > 1:
                yield from find_bijections(infos, [free[key] for key in unit])
        if len(infos) == 1:
            for info in free.values():
                yield from find_bijections(infos, [info])

    def _free(self, arrangement: Arrangement) -> dict[str, TensorInfo]:
        used = {key for match in arrangement.matches.values() if match.op != "slice" for key in sources_of(match)}
        return {t.key: t for t in self.open_old if t.key not in used}

    def _beside(self, key: str) -> set[str]:
        """Return the old tensors of the module of one, and those that act with it."""
        acting = {other for call in self._were.calls if key in call.keys for other in call.keys}
        owner = key.rpartition(".")[0]
        return acting | {t.key for t in self.open_old if t.key.rpartition(".")[0] == owner}


def _cut(arrangement: Arrangement) -> set[tuple[str, int | None]]:
    return {(str(match.old), match.start) for match in arrangement.matches.values() if match.op == "slice"}


def _ranked(arrangements: Iterable[Arrangement]) -> list[Arrangement]:
    """Return each arrangement once, those first that agree most."""
    once: dict[Any, Arrangement] = {}
    for arrangement in arrangements:
        once.setdefault(frozenset((m.new, m.old, m.op, m.start) for m in arrangement.matches.values()), arrangement)
    return sorted(once.values(), key=lambda a: -a.agreed)


def _units(calls: Iterable[Call], wanted: Iterable[str]) -> list[tuple[tuple[str, ...], list[Call]]]:
    """Return the wanted tensors that act in one operation, with all operations in which they act, in order."""
    wanted = set(wanted)
    unit_of: dict[str, int] = {}
    units: list[list[str]] = []
    for call in calls:
        keys = [key for key in call.keys if key in wanted and key not in unit_of]
        if keys:
            unit_of.update(dict.fromkeys(keys, len(units)))
            units.append(keys)
    acts: list[list[Call]] = [[] for _ in units]
    for call in calls:
        for number in {unit_of[key] for key in call.keys if key in unit_of}:
            acts[number].append(call)
    return [(tuple(unit), act) for unit, act in zip(units, acts, strict=True)]
