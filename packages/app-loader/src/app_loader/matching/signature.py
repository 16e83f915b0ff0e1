"""The values that go into and come out of the matcher: what is known of a tensor, and what is said about it.

Refuses to hold tensor data: a signature is names, shapes and module types, so that a 10 GB checkpoint is matched in
little memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Confidence = Literal["auto", "suggest", "abstain"]
"""`auto`: certain enough to apply unattended. `suggest`: a person decides. `abstain`: nothing is claimed."""

Source = str | tuple["Source", ...]
"""One old key, or the old keys of a composite in the order in which they are joined; nested once for `stack(cat0)`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """One entry of a state dict, without its data.

    Attributes:
        key: Dotted state-dict key.
        shape: Size of each axis.
        dtype: Name as torch prints it, without the `torch.` prefix; empty when unknown.
        kind: `parameter` or `buffer`.
        module_type: Class name of the module that owns the tensor; empty when unknown.
        order: Position in registration order.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str = ""
    kind: str = "parameter"
    module_type: str = ""
    order: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What the matcher says about one new tensor.

    Attributes:
        new: Key in the new code.
        old: Key or keys in the old checkpoint; None when nothing is claimed.
        confidence: `auto`, `suggest` or `abstain`.
        op: How the new tensor is made from the old: `copy`, `reshape`, `transpose`, `permute`, `slice`, `cat`,
        `stack` or `stack(cat0)`.
        dim: Axis of `cat`, `slice` and `stack`; None elsewhere.
        start: First row of a `slice` along `dim`; None elsewhere.
        evidence: Why, one short sentence each, strongest first.
        candidates: Old keys that could be meant, those at the same numbers of lists first.
    """

    new: str
    old: Source | None
    confidence: Confidence
    op: str = "copy"
    dim: int | None = None
    start: int | None = None
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
