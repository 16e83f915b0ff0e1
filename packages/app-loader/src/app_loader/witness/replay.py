"""Replaying: the same inputs through a policy, the largest difference per output told, tolerances judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from policy_interface import Capability, Policy, unflatten_state

from app_loader.witness.record import GIVEN, Witness, WitnessSpec, judge_given, named_state, run

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How far one output is from its record.

    Attributes:
        name: the output, as in ``logits`` or ``state.core.0``.
        largest: the largest absolute difference (for actions: of their ids); infinity when a shape differs or the
            output is missing.
        differing: how many elements lie outside the tolerance.
        elements: how many there are.
        note: what is wrong when no number can say it; else empty.
    """

    name: str
    largest: float
    differing: int
    elements: int
    note: str = ""

    @property
    def within(self) -> bool:
        """Whether every element lies within the tolerance."""
        return self.differing == 0 and not self.note


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessReport:
    """Every output beside its record."""

    differences: tuple[OutputDifference, ...]

    @property
    def met(self) -> bool:
        """Whether every output lies within the tolerance."""
        return all(difference.within for difference in self.differences)

    @property
    def bit_equal(self) -> bool:
        """Whether every output is exactly the recorded one."""
        return all(difference.largest == 0 and not difference.note for difference in self.differences)

    def to_text(self) -> str:
        """Return one line per output."""
        lines = []
        for d in self.differences:
            said = d.note or f"largest difference {d.largest:.3g}, {d.differing} of {d.elements} outside the tolerance"
            lines.append(f"  {d.name}: {said}")
        return "\n".join(lines)

    def to_document(self) -> dict[str, Any]:
        """Return the report as plain data."""
        rows = [
            {
                "name": d.name,
                "largest": d.largest if d.largest != float("inf") else None,
                "differing": d.differing,
                "elements": d.elements,
                "note": d.note,
            }
            for d in self.differences
        ]
        return {"met": self.met, "bit_equal": self.bit_equal, "differences": rows}


def replay_witness(policy: Policy, witness: Witness) -> WitnessReport:
    """Show a policy what the witness saw and compare what it does.

    An action may differ from its record only where the recorded logits leave two choices within the tolerance.
    """
    spec = witness.spec
    observed = {name: value for name, value in witness.tensors.items() if name.split(".")[0] == "observation"}
    template = policy.initial_state(spec.batch)
    leaves = named_state(template)
    starts = {
        name: witness.tensors[name][0].to(leaf.device) for name, leaf in leaves.items() if name in witness.tensors
    }
    usable = starts.keys() == leaves.keys() and all(starts[name].shape == leaf.shape for name, leaf in leaves.items())
    state = (
        unflatten_state(template, {n.removeprefix("state").removeprefix("."): v for n, v in starts.items()})
        if usable
        else template
    )
    named: Any = {n.removeprefix("observation."): v for n, v in observed.items()}
    shown = observed.get("observation", named)
    outputs = run(policy, shown, state)
    recorded = {name: witness.tensors[name] for name in spec.outputs}
    if GIVEN in witness.tensors:
        outputs |= judge_given(policy, shown, state, witness.tensors[GIVEN])
        recorded |= {n: v for n, v in witness.tensors.items() if n.startswith("given.") and n != GIVEN}
    return WitnessReport(differences=tuple(compare_outputs(recorded, outputs, spec)))


def compare_outputs(
    recorded: Mapping[str, Tensor], outputs: Mapping[str, Tensor], spec: WitnessSpec
) -> list[OutputDifference]:
    """Return one difference per output that either side has.

    A capability that came later (a value head, say) says nothing about what was recorded: it is no difference.
    """
    found = []
    later = {capability.value for capability in Capability} - recorded.keys()
    for name in sorted(recorded.keys() | outputs.keys() - later):
        want, have = recorded.get(name), outputs.get(name)
        if want is None or have is None:
            note = "recorded but no longer given" if have is None else "given but not recorded"
            found.append(OutputDifference(name=name, largest=float("inf"), differing=1, elements=1, note=note))
        elif want.shape != have.shape:
            note = f"shaped {list(have.shape)}, recorded {list(want.shape)}"
            found.append(OutputDifference(name=name, largest=float("inf"), differing=1, elements=1, note=note))
        else:
            tied = _tied(recorded.get("logits"), have, spec) if name == "action" else None
            found.append(_difference(name, want, have, spec, tied))
    return found


def _difference(name: str, want: Tensor, have: Tensor, spec: WitnessSpec, excused: Tensor | None) -> OutputDifference:
    wide = torch.complex128 if want.is_complex() or have.is_complex() else torch.float64
    wide_want, wide_have = want.to(wide), have.to(wide)
    distance = (wide_have - wide_want).abs()
    same = (wide_want == wide_have) | (wide_want.isnan() & wide_have.isnan())
    distance = torch.where(same, torch.zeros_like(distance), distance.nan_to_num(nan=float("inf")))
    exact = not want.dtype.is_floating_point and not want.is_complex()
    allowed = (
        torch.zeros_like(distance) if exact else spec.absolute_tolerance + spec.relative_tolerance * wide_want.abs()
    )
    # not `>`: a recorded NaN makes the bound NaN; an infinity has no neighbours: a masked logit stays masked
    outside = ~same & (~(distance <= allowed) | wide_want.isinf())
    if excused is not None:
        outside &= ~excused
    largest = float(distance.max()) if distance.numel() else 0.0
    return OutputDifference(name=name, largest=largest, differing=int(outside.sum()), elements=distance.numel())


def _tied(logits: Tensor | None, given: Tensor, spec: WitnessSpec) -> Tensor | None:
    """Return where the given action's recorded logit is so close to the best that rounding may choose it: bool."""
    if logits is None or given.dim() != logits.dim() - 1:
        return None
    known = (given >= 0) & (given < logits.shape[-1])
    wide = logits.double()
    best = wide.amax(dim=-1)
    chosen = wide.gather(-1, torch.where(known, given, 0).long().unsqueeze(-1)).squeeze(-1)
    return known & ((best - chosen) <= 2 * (spec.absolute_tolerance + spec.relative_tolerance * best.abs()))
