"""Read torch's two ways to store a parametrized weight as one.

`torch.nn.utils.weight_norm` and `spectral_norm` keep their tensors beside the bias (`weight_g`, `weight_v`;
`weight_orig`, `weight_u`, `weight_v`); `torch.nn.utils.parametrizations` keeps the same tensors below
`parametrizations.weight`. Both are given the older names while matching, so that the module around them looks one.
Refuses any other parametrization: what its originals mean is known to its class alone.
Source: torch/nn/utils/parametrizations.py, `weight_norm` and `spectral_norm`, which read the older names too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app_loader.matching.signature import Match, Source, TensorInfo

_LISTED = re.compile(r"(?P<path>.*?)\.?parametrizations\.(?P<name>[^.]+)\.(?P<part>original[01]?|0\._[uv])")
_WEIGHT_NORM = {"original0": "_g", "original1": "_v"}
_SPECTRAL_NORM = {"original": "_orig", "0._u": "_u", "0._v": "_v"}


def plainly_named(tensors: Sequence[TensorInfo]) -> tuple[list[TensorInfo], dict[str, str]]:
    """Give the tensors of both kinds of norm their older names; return them and the real key of each renamed one."""
    lists: dict[tuple[str, str], dict[str, TensorInfo]] = {}
    types = {tensor.key.rpartition(".")[0]: tensor.module_type for tensor in tensors}
    known = {tensor.key for tensor in tensors}
    for tensor in tensors:
        if found := _LISTED.fullmatch(tensor.key):
            lists.setdefault((found["path"], found["name"]), {})[found["part"]] = tensor
    plain: dict[str, TensorInfo] = {}
    for (path, name), parts in lists.items():
        endings = _endings(parts)
        keys = {part: f"{path}.{name}{ending}".lstrip(".") for part, ending in endings.items()}
        if known.isdisjoint(keys.values()):
            for part, key in keys.items():
                plain[parts[part].key] = replace(parts[part], key=key, module_type=types.get(path, ""))
    renamed = [plain.get(tensor.key, tensor) for tensor in tensors]
    return renamed, {tensor.key: key for key, tensor in plain.items()}


def _endings(parts: Mapping[str, TensorInfo]) -> Mapping[str, str]:
    if set(parts) == set(_SPECTRAL_NORM):
        return _SPECTRAL_NORM
    if set(parts) == set(_WEIGHT_NORM):
        length, direction = parts["original0"].shape, parts["original1"].shape
        kept = [size for size in length if size != 1]
        if len(length) in (0, len(direction)) and len(kept) <= 1 and all(size in direction for size in kept):
            return _WEIGHT_NORM
    return {}


def with_real_keys(match: Match, old: Mapping[str, str], new: Mapping[str, str]) -> Match:
    """Return a match with the keys that the state dicts have."""
    candidates = tuple(old.get(key, key) for key in match.candidates)
    return replace(match, new=new.get(match.new, match.new), old=_real(match.old, old), candidates=candidates)


def _real(source: Source | None, old: Mapping[str, str]) -> Source | None:
    if source is None:
        return None
    return old.get(source, source) if isinstance(source, str) else tuple(_real(part, old) or "" for part in source)
