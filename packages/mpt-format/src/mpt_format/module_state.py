"""The state of a module as an archive carries it: tensors, aliases, module versions, extra state as JSON.

What safetensors forgets is collected here: torch's per-module `_version`, which keys share memory and how, strides of
dense tensors, and `get_extra_state`. Refuses what would not come back as it was, every offender with its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpt_format.collection import paused_collection
from mpt_format.errors import ArchiveProblem, UnstorableStateError
from mpt_format.manifest import is_dense, is_name
from mpt_format.payload import TensorPayload
from mpt_format.records import AliasRecord, ModuleRecord, TensorKind
from mpt_format.strict_json import Json, validate_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor to store.

    Attributes:
        payload: its bytes.
        kind: parameter, buffer, extra_state or storage.
        stride: for a dense tensor that is not row-major: elements to step per dimension.
    """

    payload: TensorPayload
    kind: TensorKind
    stride: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleState:
    """Everything that a module's state dict holds.

    Attributes:
        tensors: what is stored, in state dict order.
        aliases: keys that share memory with a stored tensor.
        modules: dotted prefix -> class name and version, in module order.
        extra_state: state dict key -> JSON.
    """

    tensors: Mapping[str, StoredTensor]
    aliases: Mapping[str, AliasRecord] = field(default_factory=dict)
    modules: Mapping[str, ModuleRecord] = field(default_factory=dict)
    extra_state: Mapping[str, Json] = field(default_factory=dict)


def qualified_name(cls: type) -> str:
    """Return ``module.Class`` as it is named here; isolated code passes its own function to `collect_state`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def collect_state(module: torch.nn.Module, *, type_name: Callable[[type], str] = qualified_name) -> ModuleState:
    """Collect the state of a module, sharing its memory: write it before the module trains on.

    Args:
        module: the module; it is not changed.
        type_name: how the class of a submodule is named in the manifest.

    Raises:
        UnstorableStateError: with every tensor or extra state that an archive cannot carry.
    """
    import torch

    from mpt_format.torch_payload import find_unstorable

    state = module.state_dict(keep_vars=True)
    problems: list[ArchiveProblem] = []
    tensors: dict[str, torch.Tensor] = {}
    kinds: dict[str, TensorKind] = {}
    extra_state: dict[str, Json] = {}
    for name, value in state.items():
        if not is_name(name):
            problems.append(ArchiveProblem(where=repr(name)[:80], message="has control characters or is too long"))
        elif isinstance(value, torch.Tensor):
            reason = find_unstorable(value)
            if reason:
                problems.append(ArchiveProblem(where=name, message=reason))
            tensors[name] = value
            is_extra = name.rpartition(".")[2] == "_extra_state"
            is_parameter = isinstance(value, torch.nn.Parameter)
            kinds[name] = "extra_state" if is_extra else "parameter" if is_parameter else "buffer"
        else:
            problems.extend(validate_json(value, where=name))
            extra_state[name] = value
    if problems:
        raise UnstorableStateError(problems)
    with paused_collection():
        stored, aliases = share_out(tensors, kinds)
    return ModuleState(
        tensors=stored, aliases=aliases, modules=_modules(module, state, type_name), extra_state=extra_state
    )


def share_out(
    tensors: Mapping[str, torch.Tensor], kinds: Mapping[str, TensorKind]
) -> tuple[dict[str, StoredTensor], dict[str, AliasRecord]]:
    """Decide which tensors are stored and which are shown as aliases of stored bytes.

    Keys whose memory overlaps form a group. A contiguous tensor that covers its whole group is stored and the others
    are views of it; where none does, the covered bytes are stored under a name of their own (kind ``storage``).
    """
    from mpt_format._memory import groups_of_overlap

    # a lazily conjugated or negated view shows other values than its memory holds: it gets memory of its own
    tensors = {
        name: tensor.detach().resolve_conj().resolve_neg() if tensor.is_conj() or tensor.is_neg() else tensor
        for name, tensor in tensors.items()
    }
    stored: dict[str, StoredTensor] = {}
    aliases: dict[str, AliasRecord] = {}
    for group in groups_of_overlap(tensors):
        if group.is_alone:
            stored[group.names[0]] = _stored(group.names[0], tensors[group.names[0]], kinds)
            continue
        canonical = group.find_canonical()
        if canonical is not None:
            stored[canonical] = _stored(canonical, tensors[canonical], kinds)
        else:
            canonical = _free_name(tensors, stored)
            stored[canonical] = StoredTensor(payload=group.covered_bytes(), kind="storage")
        for name in group.names:
            if name != canonical:
                same = canonical in tensors and group.is_same(name, canonical)
                view = None if same else group.view_of(name)
                aliases[name] = AliasRecord(name=name, canonical=canonical, kind=kinds[name], view=view)
    order = {name: index for index, name in enumerate(tensors)}
    return (
        dict(sorted(stored.items(), key=lambda item: order.get(item[0], len(order)))),
        dict(sorted(aliases.items(), key=lambda item: order[item[0]])),
    )


def _stored(name: str, tensor: torch.Tensor, kinds: Mapping[str, TensorKind]) -> StoredTensor:
    from mpt_format.torch_payload import TorchPayload

    stride: tuple[int, ...] | None = None
    if not tensor.is_contiguous() and is_dense(tuple(tensor.shape), tensor.stride()):
        stride = tensor.stride()
    return StoredTensor(payload=TorchPayload.of(name, tensor), kind=kinds[name], stride=stride)


def _free_name(tensors: Mapping[str, object], stored: Mapping[str, object]) -> str:
    number = 0
    while (name := f"storage/{number}") in tensors or name in stored:
        number += 1
    return name


def _modules(
    module: torch.nn.Module, state: Mapping[str, Any], type_name: Callable[[type], str]
) -> dict[str, ModuleRecord]:
    metadata: Mapping[str, Mapping[str, Any]] = getattr(state, "_metadata", {})
    records: dict[str, ModuleRecord] = {}
    for prefix, child in module.named_modules(remove_duplicate=False):
        version = metadata.get(prefix, {}).get("version")
        records[prefix] = ModuleRecord(type=type_name(type(child)), version=version)
    return records
