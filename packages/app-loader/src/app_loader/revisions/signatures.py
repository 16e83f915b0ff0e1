"""Signatures of both sides: an archive's from its manifest, new code's from a build on ``meta``. No weight is read."""

from __future__ import annotations

from collections import defaultdict

import torch
from mpt_format import Archive
from mpt_format.dtypes import find_format_dtype
from policy_interface import origin_of
from torch import nn

from app_loader.matching import TensorInfo
from app_loader.revisions.migrated import Migrated

_TORCH_NAME = {
    name: str(dtype).removeprefix("torch.")
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and (name := find_format_dtype(dtype)) is not None
}


def read_archive_signature(archive: Archive) -> tuple[list[TensorInfo], list[list[str]]]:
    """Return an archive's tensors and the groups of its keys that share one tensor."""
    rows: list[tuple[str, str, tuple[int, ...], str]] = []
    groups: dict[str, list[str]] = defaultdict(list)
    followers: dict[str, list[str]] = defaultdict(list)
    for name, alias in archive.aliases.items():
        if alias.view is None:
            followers[alias.canonical].append(name)
    for name, record in archive.tensors.items():
        if record.kind == "storage":
            continue
        for key in (name, *followers[name]):
            rows.append((key, record.dtype, record.shape, record.kind))
        if followers[name]:
            groups[name] = [name, *followers[name]]
    infos = [
        TensorInfo(
            key=key,
            shape=shape,
            dtype=_TORCH_NAME.get(dtype, dtype),
            kind=kind,
            module_type=_module_type(archive, key),
            order=order,
        )
        for order, (key, dtype, shape, kind) in enumerate(rows)
    ]
    return infos, list(groups.values())


def _module_type(archive: Archive, key: str) -> str:
    record = archive.manifest.modules.get(key.rpartition(".")[0])
    return record.type.rpartition(".")[2] if record else ""


def migrated_signature(migrated: Migrated, archive: Archive) -> tuple[list[TensorInfo], list[list[str]]]:
    """Return the tensors that an archive has at the end of a route, and the groups of keys that share one tensor."""
    infos: list[TensorInfo] = []
    groups: dict[int, list[str]] = defaultdict(list)
    for order, (key, lazy) in enumerate(migrated.tensors.items()):
        groups[id(lazy)].append(key)
        made_of = migrated.sources.get(key, ())
        infos.append(
            TensorInfo(
                key=key,
                shape=lazy.shape,
                dtype=str(lazy.meta.dtype).removeprefix("torch."),
                kind=lazy.kind,
                module_type=_module_type(archive, made_of[0]) if made_of else "",
                order=order,
            )
        )
    return infos, [group for group in groups.values() if len(group) > 1]


def module_signature(module: nn.Module) -> tuple[list[TensorInfo], list[list[str]]]:
    """Return a module's tensors and the groups of its keys that share one tensor."""
    infos: list[TensorInfo] = []
    groups: dict[int, list[str]] = defaultdict(list)
    modules = dict(module.named_modules(remove_duplicate=False))
    for key, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            continue
        owner = modules.get(key.rpartition(".")[0])
        groups[id(value)].append(key)
        infos.append(
            TensorInfo(
                key=key,
                shape=tuple(value.shape),
                dtype=str(value.dtype).removeprefix("torch."),
                kind="parameter" if isinstance(value, nn.Parameter) else "buffer",
                module_type="" if owner is None else origin_of(type(owner)).qualname.rpartition(".")[2],
                order=len(infos),
            )
        )
    return infos, [group for group in groups.values() if len(group) > 1]
