"""What two policies are shown beyond the witness, and the sum of what came out.

Ordinary observations and extreme ones, actions that neither chose, a sample where nothing else shows how wide a choice
is, and for a policy with memory a long run. In the long run each step of the new policy begins from the old one's
state, so that rounding does not add up and a difference shows at the step where it arises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from policy_interface import Capability, Policy, flatten_state, unflatten_state

from app_loader.witness import (
    OutputDifference,
    Witness,
    WitnessSpec,
    draw_observations,
    has_memory,
    record_witness,
    replay_witness,
)
from app_loader.witness.record import run
from app_loader.witness.replay import compare_outputs

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch import Tensor

SEEDS = (1, 2, 3)
STEPS = 6
BATCH = 16
LONG_STEPS, LONG_BATCH = 96, 2
LONG_SEED = 4
LONG_BYTES = 16 << 30
"""How many bytes of weights the long run may pass over: a policy of 170 MB gets all its steps."""


class Rounds:
    """The comparison of an old and a new policy on fresh observations.

    Attributes:
        longest_run: how many steps in a row were looked at.
        missing: what could not be compared, in words.
    """

    def __init__(self, old: Policy, new: Policy, tolerance: WitnessSpec | None) -> None:
        """Compare these two within a witness's tolerance, or within the usual one."""
        self._old, self._new = old, new
        self._tolerance = tolerance
        self._memory = has_memory(old)
        self.longest_run = 1
        self.missing: list[str] = []

    def compare(self) -> tuple[OutputDifference, ...]:
        """Return one difference per output, over everything that was shown."""
        found = [difference for part in self._parts() for difference in part]
        return tuple(_together([d for d in found if d.name == name]) for name in dict.fromkeys(d.name for d in found))

    def _parts(self) -> Iterator[tuple[OutputDifference, ...]]:
        # without memory a step is an element of the batch: the weights are passed over once instead of at every step
        steps, batch = (STEPS, BATCH) if self._memory else (1, STEPS * BATCH)
        for seed in SEEDS:
            extreme = steps // 3 if self._memory else int(seed == SEEDS[-1])
            shown = draw_observations(self._old.rules, seed=seed, steps=steps, batch=batch, extreme_steps=extreme)
            said = record_witness(self._old, observations=shown)
            yield replay_witness(self._new, self._within(said)).differences
            if Capability.LOG_PROB not in self._old.capabilities and "logits" not in said.tensors and seed == SEEDS[0]:
                yield self._samples(shown, batch, said.spec)
        if self._memory:
            yield self._long_run()

    def _samples(self, shown: Observation, batch: int, spec: WitnessSpec) -> tuple[OutputDifference, ...]:
        """Compare what both draw with one seed: no output says how wide the choice is."""

        def draw(policy: Policy) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(SEEDS[0])
            outputs = run(policy, shown, policy.initial_state(batch), generator=generator)
            return {"sampled.action": outputs["action"]}

        return tuple(compare_outputs(draw(self._old), draw(self._new), self._within_spec(spec)))

    def _long_run(self) -> tuple[OutputDifference, ...]:
        weights = _weight_bytes(self._old)
        steps = max(STEPS, min(LONG_STEPS, LONG_BYTES // max(1, weights)))
        if steps < LONG_STEPS:
            self.missing.append(f"a run of {LONG_STEPS} steps: {weights} bytes of weights, so {steps} were looked at")
        self.longest_run = steps
        shown = draw_observations(self._old.rules, seed=LONG_SEED, steps=steps, batch=LONG_BATCH)
        template = self._old.initial_state(LONG_BATCH)
        said = run(self._old, shown, template)
        if _shapes(template) != _shapes(self._new.initial_state(LONG_BATCH)):
            return ()  # the rounds before have told that the states are not the same
        before = {n: v[:-1].flatten(0, 1) for n, v in said.items() if _is_state(n)}
        after = {n: (v[1:] if _is_state(n) else v).flatten(0, 1).unsqueeze(0) for n, v in said.items()}
        leaves = {n.removeprefix("state").removeprefix("."): v for n, v in before.items()}
        state = unflatten_state(self._new.initial_state(steps * LONG_BATCH), leaves)
        answered = run(self._new, _at_once(shown), state)
        answered = {n: v[1:] if _is_state(n) else v for n, v in answered.items()}
        spec = WitnessSpec(seed=LONG_SEED, steps=steps, batch=LONG_BATCH, outputs=tuple(sorted(after)))
        return tuple(compare_outputs(after, answered, self._within_spec(spec)))

    def _within(self, witness: Witness) -> Witness:
        return Witness(spec=self._within_spec(witness.spec), tensors=witness.tensors)

    def _within_spec(self, spec: WitnessSpec) -> WitnessSpec:
        if self._tolerance is None:
            return spec
        return replace(
            spec,
            absolute_tolerance=self._tolerance.absolute_tolerance,
            relative_tolerance=self._tolerance.relative_tolerance,
        )


def _together(found: Sequence[OutputDifference]) -> OutputDifference:
    """Return what one output did in all rounds."""
    return OutputDifference(
        name=found[0].name,
        largest=max(d.largest for d in found),
        differing=sum(d.differing for d in found),
        elements=sum(d.elements for d in found),
        note=next((d.note for d in found if d.note), ""),
    )


def _at_once(observations: Observation) -> Observation:
    """Return observations [step, batch] as one step with as many elements."""
    if isinstance(observations, Mapping):
        return {name: value.flatten(0, 1).unsqueeze(0) for name, value in observations.items()}
    return observations.flatten(0, 1).unsqueeze(0)


def _is_state(name: str) -> bool:
    return name == "state" or name.startswith("state.")


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in flatten_state(state).items()}


def _weight_bytes(policy: Policy) -> int:
    if policy.module is None:
        return 0
    return sum(value.nbytes for value in policy.module.state_dict().values() if isinstance(value, torch.Tensor))
