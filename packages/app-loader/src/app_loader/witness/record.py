"""Recording: a short seeded run of a policy, every input and output kept.

Names of the tensors, each with a leading time axis and a batch axis:
``observation`` (or ``observation.NAME``) [step, batch, ...], ``state.PATH`` [step + 1, batch, ...] where step 0 is the
initial state, ``action`` [step, batch, ...] and every declared capability [step, batch, ...].

A policy with ``log_prob`` is also asked, once, about actions that it did not choose: ``given.action`` [batch, ...]
drawn from the rules and ``given.log_prob`` [batch], at the first step. The most probable action says nothing about
which choice is how wide: exchanged deviations give it the same density. These two are no `outputs`, so a reader that
does not know them passes them over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from policy_interface import Capability, Policy, flatten_state
from policy_interface.testing import sample_actions

from app_loader.witness.observations import BATCH, STEPS, draw_observations

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch import Tensor

MEMORY_STEPS, MEMORY_BATCH = 12, 2
"""For a policy with memory, which needs time to show what it keeps; one without is shown `STEPS` x `BATCH`."""
EXTREME_STEPS = 1
SEED = 0
GIVEN = "given.action"
ABSOLUTE_TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-4
"""Far above what another CPU, BLAS or torch release changes in float32, far below what a change of meaning does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSpec:
    """How a witness was made and how closely it must be met.

    Attributes:
        seed: of the generator that drew the observations; None when the caller gave them.
        steps: length of the run.
        batch: elements per step.
        outputs: names of the recorded outputs, in order.
        absolute_tolerance: largest difference allowed near zero.
        relative_tolerance: largest difference allowed as a share of the recorded value.
    """

    seed: int | None
    steps: int
    batch: int
    outputs: tuple[str, ...]
    absolute_tolerance: float = ABSOLUTE_TOLERANCE
    relative_tolerance: float = RELATIVE_TOLERANCE

    def to_document(self) -> dict[str, Any]:
        """Return the spec as plain data for the manifest."""
        return {**asdict(self), "outputs": list(self.outputs)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> WitnessSpec:
        """Return the spec from a manifest's plain data; fields of a later minor format are left aside."""
        known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        return cls(**{**known, "outputs": tuple(document["outputs"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A recorded run: its spec and its tensors by name (see the module's docstring)."""

    spec: WitnessSpec
    tensors: dict[str, Tensor]


def record_witness(policy: Policy, *, observations: Observation | None = None, seed: int = SEED) -> Witness:
    """Run a policy deterministically and keep what it saw and did.

    Args:
        policy: any policy; its weights and training mode are left as they were.
        observations: what to show it, with leading axes [step, batch]; None draws them from the policy's rules.
        seed: of that draw.

    Raises:
        ValueError: the observations have no leading axes [step, batch], or none of them is there.
    """
    if observations is None:
        steps, batch = (MEMORY_STEPS, MEMORY_BATCH) if has_memory(policy) else (STEPS, BATCH)
        shown = draw_observations(policy.rules, seed=seed, steps=steps, batch=batch, extreme_steps=EXTREME_STEPS)
    else:
        shown = observations
    steps, batch = _leading_axes(shown)
    tensors = run(policy, shown, policy.initial_state(batch))
    inputs = _named_observations(shown)
    spec = WitnessSpec(
        seed=seed if observations is None else None, steps=steps, batch=batch, outputs=tuple(sorted(tensors))
    )
    given = {}
    if Capability.LOG_PROB in policy.capabilities:
        given[GIVEN] = sample_actions(policy.rules, batch, torch.Generator().manual_seed(seed))
        given |= judge_given(policy, shown, policy.initial_state(batch), given[GIVEN])
    return Witness(spec=spec, tensors={**inputs, **tensors, **given})


def has_memory(policy: Policy) -> bool:
    """Tell whether a policy carries a state from step to step."""
    return bool(flatten_state(policy.initial_state(1)))


def judge_given(policy: Policy, observations: Observation, state: Any, actions: Tensor) -> dict[str, Tensor]:
    """Return what a policy says at the first step about actions that it did not choose: ``given.log_prob`` [batch]."""
    device = _device(policy)
    with evaluation_mode(policy), torch.no_grad():
        output = policy.act(_at(observations, 0, device), state, action=actions.to(device))
    return {} if output.log_prob is None else {"given.log_prob": output.log_prob.cpu()}


def run(
    policy: Policy, observations: Observation, state: Any, *, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return every output of a run, by name, on CPU.

    Args:
        policy: the policy to run; it is put into evaluation mode for the run.
        observations: leading axes [step, batch].
        state: the state before the first step.
        generator: draws the actions with it; None takes the most probable ones.
    """
    device = _device(policy)
    steps, _ = _leading_axes(observations)
    rows: dict[str, list[Tensor]] = {}
    with evaluation_mode(policy), torch.no_grad():
        _keep_state(rows, state)
        for step in range(steps):
            seen = _at(observations, step, device)
            output = policy.act(seen, state, deterministic=generator is None, generator=generator)
            rows.setdefault("action", []).append(output.action.cpu())
            for capability in Capability:
                value = getattr(output, capability)
                if value is not None:
                    rows.setdefault(capability.value, []).append(value.cpu())
            state = output.state
            _keep_state(rows, state)
    return {name: torch.stack(values).contiguous() for name, values in rows.items()}


@contextmanager
def evaluation_mode(policy: Policy) -> Iterator[None]:
    """Put the policy's modules into evaluation mode and give each back its own mode afterwards."""
    modules = [] if policy.module is None else list(policy.module.modules())
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def named_state(state: Any) -> dict[str, Tensor]:
    """Return the leaves of a state by the witness's names: ``state`` or ``state.PATH``."""
    return {f"state.{path}" if path else "state": leaf for path, leaf in flatten_state(state).items()}


def _keep_state(rows: dict[str, list[Tensor]], state: Any) -> None:
    for name, leaf in named_state(state).items():
        rows.setdefault(name, []).append(leaf.detach().cpu())


def _named_observations(observations: Observation) -> dict[str, Tensor]:
    if isinstance(observations, Mapping):
        return {f"observation.{name}": value.cpu().contiguous() for name, value in observations.items()}
    return {"observation": observations.cpu().contiguous()}


def _leading_axes(observations: Observation) -> tuple[int, int]:
    given = list(observations.values()) if isinstance(observations, Mapping) else [observations]
    leading = {tuple(each.shape[:2]) for each in given}
    steps, batch = (*next(iter(leading), ()), 0, 0)[:2]
    if len(leading) != 1 or not steps or not batch:
        shapes = [list(each.shape) for each in given]
        raise ValueError(f"observations need the same leading axes [step, batch], at least one of each; got {shapes}")
    return steps, batch


def _at(observations: Observation, step: int, device: torch.device) -> Observation:
    if isinstance(observations, Mapping):
        return {name: value[step].to(device) for name, value in observations.items()}
    return observations[step].to(device)


def _device(policy: Policy) -> torch.device:
    first = None if policy.module is None else next(policy.module.parameters(), None)
    return torch.device("cpu") if first is None else first.device
