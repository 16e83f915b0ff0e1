"""What goes into a migrated archive: the tensors at the end of the route, and everything else the old one carried.

Nothing is read and nothing is written here; the tensors are views into the old archive, or into the file where computed
ones lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mpt_format import (
    Archive,
    ArchiveContent,
    ModuleRecord,
    ModuleState,
)
from mpt_format.module_state import share_out
from mpt_format.records import TensorKind
from policy_interface import Policy, PolicyArchitecture
from policy_interface.migrations import RenameField
from torch import Tensor, nn

from app_loader import trainer_state
from app_loader.code_record import record_code
from app_loader.migration.proof import Proof
from app_loader.revisions.lazy import LazyPayload
from app_loader.revisions.migrated import Migrated
from app_loader.revisions.route import Route
from app_loader.revisions.slots import migrate_slots
from app_loader.trainer_state import OptimizerState
from app_loader.witness import record_witness


def make_content(
    archive: Archive, migrated: Migrated, architecture: PolicyArchitecture, module: nn.Module
) -> ArchiveContent:
    """Return the content of the migrated archive, without lineage.

    Args:
        archive: the old one.
        migrated: its state at the end of the route; every tensor at hand.
        architecture: of the new code.
        module: of the new code, on ``meta``.

    Raises:
        UnstorableStateError: a tensor is none that an archive can carry.
    """
    code = record_code(type(architecture))
    manifest = archive.manifest
    parameters = frozenset(name for name, _ in module.named_parameters(remove_duplicate=False))
    documents = {
        name.removeprefix("trainer/").removesuffix(".json"): archive.read_json(name)
        for name in archive.members
        if name.startswith("trainer/") and name.endswith(".json")
    }
    trainer: dict[str, Mapping[str, Any]] = {
        name.removeprefix("trainer/").removesuffix(".safetensors"): archive.map_tensor_member(name)
        for name in archive.members
        if name.startswith("trainer/") and name.endswith(".safetensors")
    }
    before: Any = documents.get(trainer_state.MEMBER)
    if before is not None and migrated.steps:
        optimizer = OptimizerState(tensors=dict(trainer.get(trainer_state.MEMBER, {})), document=before)
        moved = migrate_slots(optimizer, migrated.steps, migrated.sources, parameters, subject=str(archive.path))
        documents[trainer_state.MEMBER] = moved.document
        trainer[trainer_state.MEMBER] = {name: LazyPayload.of(lazy, name) for name, lazy in moved.tensors.items()}
    return ArchiveContent(
        state=_state(migrated, module),
        architecture=architecture.to_yaml(),
        config_sources=_config_sources(archive, migrated, architecture),
        game_rules=migrated.rules,
        code=code.record,
        requires=code.requires,
        environment=manifest.environment,
        migration={} if migrated.route.head is None else {"head": migrated.route.head},
        witness=archive.read_witness(),
        witness_spec=manifest.witness,
        training=manifest.training,
        source_diff=code.diff,
        training_document=_find_json(archive, "training.json"),
        readme=archive.read_member("README.md").decode() if archive.has_member("README.md") else None,
        trainer_tensors=trainer,
        trainer_documents=documents,
        created=manifest.created,
    )


def _find_json(archive: Archive, name: str) -> Any:
    return archive.read_json(name) if archive.has_member(name) else None


def _state(migrated: Migrated, module: nn.Module) -> ModuleState:
    from app_loader.save import type_name

    live = module.state_dict(keep_vars=True)
    versions: Mapping[str, Mapping[str, Any]] = getattr(live, "_metadata", {})
    tensors: dict[str, Tensor] = {}
    kinds: dict[str, TensorKind] = {}
    made: dict[int, Tensor] = {}
    for key, value in live.items():
        lazy = migrated.tensors.get(key)
        if lazy is not None:
            tensors[key] = made.setdefault(id(lazy), lazy.compute(key))
            kinds[key] = "parameter" if isinstance(value, nn.Parameter) else "buffer"
    stored, aliases = share_out(tensors, kinds)
    modules = {
        prefix: ModuleRecord(type=type_name(type(child)), version=versions.get(prefix, {}).get("version"))
        for prefix, child in module.named_modules(remove_duplicate=False)
    }
    return ModuleState(tensors=stored, aliases=aliases, modules=modules, extra_state=migrated.extra_state)


def _config_sources(archive: Archive, migrated: Migrated, architecture: PolicyArchitecture) -> dict[str, str]:
    """Say of every field what was said of it before, also under another name; what a revision made is the author's."""
    from app_loader.save import leaf_paths

    before = dict(archive.manifest.architecture.config_sources if archive.manifest.architecture else {})
    for revision in migrated.route.revisions:
        for op in revision.config:
            if isinstance(op, RenameField):
                old, new = (op.new, op.old) if migrated.route.backwards else (op.old, op.new)
                before = {_moved(path, old, new): source for path, source in before.items()}
    return {path: before.get(path, "author") for path in leaf_paths(architecture.to_document()["config"], "")}


def _moved(path: str, old: str, new: str) -> str:
    return f"{new}{path[len(old) :]}" if path == old or path.startswith(f"{old}.") else path


def make_lineage(archive: Archive, route: Route, proof: Proof) -> dict[str, Any]:
    """Return the parent's digest, every revision since the beginning, and the proof of this step."""
    before = (archive.manifest.lineage or {}).get("revisions")
    applied = list(before) if isinstance(before, list) else []
    applied += [f"-{name}" if route.backwards else name for name in route.ids]
    return {"parent": archive.manifest.content_digest, "revisions": applied, "proof": proof.to_document()}


def with_witness(content: ArchiveContent, policy: Policy) -> ArchiveContent:
    """Record the new code's behaviour: what the old one recorded speaks of other rules, or is known not to be met."""
    recorded = record_witness(policy)
    return replace(content, witness=recorded.tensors, witness_spec=recorded.spec.to_document())
