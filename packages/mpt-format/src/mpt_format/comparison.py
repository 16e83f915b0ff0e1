"""What differs between two archives: by digest, and by value where asked; only that needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from mpt_format import format as layout
from mpt_format.records import TensorRecord

if TYPE_CHECKING:
    import torch

    from mpt_format.archive import Archive
    from mpt_format.manifest import Manifest

Area = Literal["provenance", "config", "rules", "tensor", "extra_state", "member"]
_ABSENT = "(absent)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference.

    Attributes:
        area: provenance, config, rules, tensor, extra_state or member.
        path: where it is, as in ``config.hidden[0]`` or a tensor's name.
        old: the value in the first archive.
        new: the value in the second.
        max_difference: for a tensor whose values were compared: the largest absolute difference; NaN if there is one.
    """

    area: Area
    path: str
    old: Any
    new: Any
    max_difference: float | None = None


def compare_archives(old: Archive, new: Archive, *, values: bool = False) -> list[Difference]:
    """Compare two archives.

    Args:
        old: the first.
        new: the second.
        values: compare the values of tensors whose digests differ; needs torch and reads these tensors.

    Returns:
        Every difference, ``created`` aside, in the order provenance, config, rules, tensors, extra state, members.

    Raises:
        ArchiveError or ManifestError: one of them cannot be read.
    """
    return [
        *_provenance(old.manifest, new.manifest),
        *_documents("config", _architecture(old), _architecture(new), ""),
        *_documents("rules", old.game_rules, new.game_rules, ""),
        *_tensors(old, new, values=values),
        *_documents("extra_state", old.extra_state, new.extra_state, ""),
        *_members(old.manifest, new.manifest),
    ]


def _architecture(archive: Archive) -> Any:
    return archive.architecture if archive.has_member(layout.ARCHITECTURE) else None


def _provenance(old: Manifest, new: Manifest) -> Iterator[Difference]:
    for name in (
        "format",
        "revision",
        "code",
        "requires",
        "environment",
        "migration",
        "training",
        "lineage",
        "witness",
    ):
        yield from _documents("provenance", _plain(getattr(old, name)), _plain(getattr(new, name)), name)


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _documents(area: Area, old: Any, new: Any, path: str) -> Iterator[Difference]:
    """Walk two JSON documents side by side; a member that is absent on one side is one difference."""
    pending: list[tuple[Any, Any, str]] = [(old, new, path)]
    while pending:
        a, b, here = pending.pop()
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys = [*a, *(key for key in b if key not in a)]
            pending.extend(
                (a.get(key, _ABSENT), b.get(key, _ABSENT), f"{here}.{key}" if here else str(key))
                for key in reversed(keys)
            )
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            pending.extend((a[i], b[i], f"{here}[{i}]") for i in reversed(range(len(a))))
        elif type(a) is not type(b) or a != b:
            yield Difference(area=area, path=here or "(document)", old=a, new=b)


def _tensors(old: Archive, new: Archive, *, values: bool) -> Iterator[Difference]:
    changed: list[str] = []
    for name in [*old.tensors, *(name for name in new.tensors if name not in old.tensors)]:
        a, b = old.tensors.get(name), new.tensors.get(name)
        if a is None or b is None or (a.dtype, a.shape, a.kind) != (b.dtype, b.shape, b.kind):
            yield Difference(area="tensor", path=name, old=_tell(a), new=_tell(b))
        elif a.sha256 != b.sha256:
            changed.append(name)
    distances = _distances(old, new, changed) if values and changed else {}
    for name in changed:
        yield Difference(
            area="tensor",
            path=name,
            old=f"sha256 {old.tensors[name].sha256[:12]}",
            new=f"sha256 {new.tensors[name].sha256[:12]}",
            max_difference=distances.get(name),
        )
    for name in dict.fromkeys([*old.aliases, *new.aliases]):
        one, other = old.aliases.get(name), new.aliases.get(name)
        if one != other:
            yield Difference(
                area="tensor",
                path=name,
                old=f"shares memory with {one.canonical}" if one else _tell(old.tensors.get(name)),
                new=f"shares memory with {other.canonical}" if other else _tell(new.tensors.get(name)),
            )


def _tell(record: TensorRecord | None) -> str:
    return _ABSENT if record is None else f"{record.kind} {record.dtype} {list(record.shape)}"


def _distances(old: Archive, new: Archive, names: list[str]) -> dict[str, float]:
    before, after = old.read_tensors(), new.read_tensors()
    return {name: _distance(before[name], after[name]) for name in names if name in before and name in after}


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the largest absolute difference, computed in float64 in pieces of a bounded size."""
    import torch

    if a.dtype == getattr(torch, "float4_e2m1fn_x2", None):
        a, b = a.view(torch.uint8), b.view(torch.uint8)  # torch cannot compute with it; packed codes are compared
    wide = torch.complex128 if a.is_complex() else torch.float64
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    largest = 0.0
    step = 1 << 22
    for start in range(0, flat_a.numel(), step):
        part = (flat_a[start : start + step].to(wide) - flat_b[start : start + step].to(wide)).abs().max().item()
        largest = part if part != part else max(largest, part)  # NaN stays
        if largest != largest:
            break
    return largest


def _members(old: Manifest, new: Manifest) -> Iterator[Difference]:
    told = {layout.ARCHITECTURE, layout.GAME_RULES, layout.EXTRA_STATE, layout.WEIGHTS}  # compared above
    for name in dict.fromkeys([*old.members, *new.members]):
        a, b = old.members.get(name), new.members.get(name)
        if name not in told and a != b:
            yield Difference(
                area="member",
                path=name,
                old=_ABSENT if a is None else f"{a.size_bytes} bytes, sha256 {(a.sha256 or '')[:12]}",
                new=_ABSENT if b is None else f"{b.size_bytes} bytes, sha256 {(b.sha256 or '')[:12]}",
            )
