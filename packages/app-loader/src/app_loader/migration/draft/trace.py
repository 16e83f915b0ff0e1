"""What each weight meets while a policy acts: beside which numbers it stands in an operation, and what comes out.

Two codes that compute the same put the same numbers beside the same weight, whatever the weight is called, whatever
class its module has and in whatever order both were registered. Numbers are known by their count and four moments, so
a transposed, reshaped or permuted activation is still the same one. Weights that are first combined among themselves
(normalised, joined, turned) are followed through that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import torch
from numpy.typing import NDArray
from policy_interface import Policy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app_loader.witness.record import evaluation_mode

if TYPE_CHECKING:
    from policy_interface.policy import Observation

TOLERANCE = 1e-4
"""How far apart the moments of one activation may be in two codes, as a share of its size."""

Print = tuple[float, ...]
"""Count, mean, mean magnitude, root mean square and third moment of some numbers."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation in which weights took part.

    Attributes:
        keys: of the weights, in the order of the operation's arguments.
        operands: the other numbers that went in.
        results: the numbers that came out.
    """

    keys: tuple[str, ...]
    operands: tuple[Print, ...]
    results: tuple[Print, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All that happened, in order.

    Attributes:
        calls: the operations with weights.
        outputs: what the policy gave and kept; what the last weights make meets no other weight.
    """

    calls: tuple[Call, ...]
    outputs: tuple[Print, ...] = ()

    def prints(self) -> Iterator[Print]:
        """Yield all numbers that met a weight or came of that."""
        for call in self.calls:
            yield from call.operands
            yield from call.results


def trace(policy: Policy, observations: Observation, weights: Mapping[str, Tensor]) -> Trace:
    """Act on observations and tell what each weight met.

    Args:
        policy: put into evaluation mode for the run.
        observations: leading axes [step, batch].
        weights: the policy's own tensors by key, each in a storage of its own; several keys may have one tensor.
    """
    first = next(iter(observations.values())) if isinstance(observations, Mapping) else observations
    steps, batch = first.shape[:2]
    recorder = _Recorder(weights)
    # fused kernels, which hide what is inside, are only taken where nothing could ask for a gradient
    outputs: list[Print] = []
    with evaluation_mode(policy), torch.enable_grad(), recorder:
        state = policy.initial_state(batch)
        for step in range(steps):
            output = policy.act(_at(observations, step), state, deterministic=True)
            state = output.state
            said = [leaf.detach() for leaf in tree_leaves(tuple(output)) if isinstance(leaf, Tensor)]
            outputs += _prints(said)
    return Trace(tuple(recorder.calls), tuple(outputs))


def _at(observations: Observation, step: int) -> Any:
    if isinstance(observations, Mapping):
        return {name: value[step] for name, value in observations.items()}
    return observations[step]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._keys: dict[int, tuple[str, ...]] = {}
        self._kept: list[Tensor] = []  # alive, so that no other tensor comes to lie where one of them was
        for key, tensor in weights.items():
            place = tensor.untyped_storage().data_ptr()
            self._keys[place] = (*self._keys.get(place, ()), key)
            self._kept.append(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and saying so to torch's compiler imports it, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and write down what it did with weights."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [self._keys.get(_place(tensor), ()) for tensor in given]
        keys = tuple(dict.fromkeys(key for some in known for key in some))
        others = [tensor for tensor, some in zip(given, known, strict=True) if not some]
        operands = _prints(others) if keys else ()  # before the operation, which may change them
        result = func(*args, **(kwargs or {}))
        if not keys:
            return result
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if others:
            self.calls.append(Call(keys, operands, _prints(made)))
        else:
            for tensor in made:
                self._keys.setdefault(_place(tensor), keys)
                self._kept.append(tensor)
        return result


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def _prints(tensors: Iterable[Tensor]) -> tuple[Print, ...]:
    """Return what numbers are known by, leaving out those that are all the same, which many are."""
    return tuple(seen for tensor in tensors if (seen := _print(tensor)) is not None)


def _print(tensor: Tensor) -> Print | None:
    if tensor.numel() < 2 or tensor.is_complex() or tensor.layout is not torch.strided:
        return None
    values = tensor.detach().to(torch.float64).numpy().ravel()
    values = values[numpy.isfinite(values)]  # masks
    if values.size < 2 or values.min() == values.max():
        return None
    rms = float(numpy.sqrt(values @ values / values.size))
    third = float(((values / rms) ** 3).mean())
    return float(tensor.numel()), float(values.mean()), float(numpy.abs(values).mean()), rms, third


class Prints:
    """Numbers that were seen, to be asked whether others are among them."""

    def __init__(self, seen: Iterable[Print]) -> None:
        rows = sorted(set(seen))
        self._counts: dict[float, NDArray[numpy.float64]] = {}
        groups: dict[float, list[Print]] = {}
        for row in rows:
            groups.setdefault(row[0], []).append(row)
        self._counts = {count: numpy.array(group) for count, group in groups.items()}

    def __contains__(self, seen: Print) -> bool:
        rows = self._counts.get(seen[0])
        if rows is None:
            return False
        one = numpy.array(seen)
        size = numpy.maximum(rows[:, 3], 1e-12)
        near = (numpy.abs(rows[:, 1:4] - one[1:4]) <= TOLERANCE * size[:, None]).all(axis=1)
        return bool((near & (numpy.abs(rows[:, 4] - one[4]) <= 10 * TOLERANCE * (1 + abs(one[4])))).any())

    def count(self, seen: Iterable[Print]) -> int:
        """Return how many of these are among them."""
        return sum(row in self for row in set(seen))
