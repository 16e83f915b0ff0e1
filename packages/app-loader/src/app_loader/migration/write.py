"""Write a migrated archive: a new file, streamed tensor by tensor, with its parent and its revisions in the lineage.

The file appears under its name only when it was checked and, unless asked otherwise, proven. The source is never
touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpt_format import (
    AliasRecord,
    Archive,
    ArchiveContent,
    ModuleRecord,
    ModuleState,
    StoredTensor,
    open_archive,
    write_archive,
)
from policy_interface import GameRules, Policy, PolicyArchitecture
from torch import nn

from app_loader import trainer_state
from app_loader.build import build_on_meta, read_architecture
from app_loader.code import Code
from app_loader.code_record import record_code
from app_loader.errors import LoaderError, MigrationError
from app_loader.judge import check_contract
from app_loader.migration.check import check_bijection, check_round_trip
from app_loader.migration.proof import Proof, prove
from app_loader.migration.working_folder import working_folder
from app_loader.revisions.lazy import LazyPayload
from app_loader.revisions.migrated import Migrated, follow
from app_loader.revisions.route import Route, find_route
from app_loader.revisions.slots import migrate_slots
from app_loader.revisions.wrapper import tensor_keys
from app_loader.store import Store
from app_loader.trainer_state import OptimizerState
from app_loader.witness import record_witness


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What became of one archive.

    Attributes:
        source: its path.
        target: where the new one was written; None when nothing was.
        route: ids of the revisions, in order.
        backwards: whether they were undone.
        round_trip: ``bytes equal``, or why it cannot be undone.
        idempotent: migrating the result again changes nothing; a result that would change is refused.
        proof: the comparison of behaviours; None when it was not asked for.
        parent: content digest of the source.
    """

    source: str
    target: str | None
    route: tuple[str, ...]
    backwards: bool
    round_trip: str
    idempotent: bool
    proof: Proof | None
    parent: str

    def to_document(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "source": self.source,
            "target": self.target,
            "revisions": list(self.route),
            "backwards": self.backwards,
            "round_trip": self.round_trip,
            "idempotent": self.idempotent,
            "proof": None if self.proof is None else self.proof.to_document(),
            "parent": self.parent,
        }


def migrate_archive(
    source: str | Path,
    target: str | Path,
    *,
    code: str = "current",
    store: Store | str | Path | None = None,
    unproven: bool = False,
) -> MigrationReport:
    """Migrate one archive to other code and write the result.

    Args:
        source: the archive; it stays as it is.
        target: the new file; refused when it is the source.
        code: ``current`` or a version, as for `load_policy`.
        store: the store of wheels.
        unproven: write even when the proof does not hold; the measured difference goes into the lineage.

    Raises:
        MigrationError: the route, the fit, the way back or the proof does not hold; nothing was written.
        LoaderError: the archive or the code cannot be read.
    """
    from app_loader.load import check_resolution, resolve_archive

    opened = store if isinstance(store, Store) else Store(store)
    source, target = Path(source), Path(target)
    if target.exists() and target.samefile(source):
        raise MigrationError(str(source), ["the target is the source; a migration never overwrites what it read"])
    with open_archive(source) as archive:
        archive.verify("full")
        chosen = check_resolution(archive, resolve_archive(archive, code, opened))
        check_contract(chosen)
        route = find_route(archive.manifest, archive.architecture, chosen, subject=str(source))
        migrated = follow(archive, route)
        architecture, rules, module = _build(chosen, migrated, archive)
        migrated = migrated.fitted(tensor_keys(module))
        check_bijection(migrated, module, subject=f"{source} to {chosen.distribution} {chosen.version}")
        round_trip = check_round_trip(archive, route, subject=str(source))
        with working_folder(target) as folder:
            draft = folder / "draft.mpt"
            content = _content(archive, migrated, architecture, module, route)
            write_archive(draft, content)
            if not _follows_nothing(draft, chosen):
                raise MigrationError(str(source), ["migrating the result again would change it"], "mpt migrate check")
            new = _load(draft, chosen, architecture, rules)
            proof = prove(archive, _load_trained(archive, opened), new, route)
            if not proof.held and not unproven:
                raise MigrationError(
                    str(source), _said(proof), "mpt migrate ... --unproven   # writes it with the difference"
                )
            if not proof.held or migrated.rules != archive.game_rules:
                content = _with_witness(content, new)
            write_archive(target, replace(content, lineage=_lineage(archive, route, proof)))
        return MigrationReport(
            source=str(source),
            target=str(target),
            route=route.ids,
            backwards=route.backwards,
            round_trip=round_trip,
            idempotent=True,
            proof=proof,
            parent=archive.manifest.content_digest,
        )


def _build(code: Code, migrated: Migrated, archive: Archive) -> tuple[PolicyArchitecture, GameRules, nn.Module]:
    from app_loader.load import read_rules

    path = str(archive.path)
    architecture = read_architecture(code, migrated.architecture, archive=path)
    rules = read_rules(archive, migrated.rules)
    subject = f"{architecture.kind} of {code.distribution} {code.version}"
    module = build_on_meta(architecture, rules, subject=subject, archive=path).module
    if module is None:
        raise MigrationError(path, [f"{subject} has no module to put weights into"])
    return architecture, rules, module


def _content(
    archive: Archive, migrated: Migrated, architecture: PolicyArchitecture, module: nn.Module, route: Route
) -> ArchiveContent:
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
        trainer[trainer_state.MEMBER] = {name: LazyPayload.of(lazy) for name, lazy in moved.tensors.items()}
    return ArchiveContent(
        state=_state(migrated, module),
        architecture=architecture.to_yaml(),
        config_sources=_config_sources(archive, architecture),
        game_rules=migrated.rules,
        code=code.record,
        requires=code.requires,
        environment=manifest.environment,
        migration={} if route.head is None else {"head": route.head},
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
    stored: dict[str, StoredTensor] = {}
    aliases: dict[str, AliasRecord] = {}
    first: dict[int, str] = {}
    for key, value in live.items():
        lazy = migrated.tensors.get(key)
        if lazy is None:
            continue
        kind = "parameter" if isinstance(value, nn.Parameter) else "buffer"
        canonical = first.setdefault(id(lazy), key)
        if canonical != key:
            aliases[key] = AliasRecord(name=key, canonical=canonical, kind=kind)  # type: ignore[arg-type]
        else:
            stored[key] = StoredTensor(payload=LazyPayload.of(lazy), kind=kind)  # type: ignore[arg-type]
    modules = {
        prefix: ModuleRecord(type=type_name(type(child)), version=versions.get(prefix, {}).get("version"))
        for prefix, child in module.named_modules(remove_duplicate=False)
    }
    return ModuleState(tensors=stored, aliases=aliases, modules=modules, extra_state=migrated.extra_state)


def _config_sources(archive: Archive, architecture: PolicyArchitecture) -> dict[str, str]:
    """Say of every field what it was before; a field that a revision made or renamed was set by nobody today."""
    from app_loader.save import leaf_paths

    before = archive.manifest.architecture.config_sources if archive.manifest.architecture else {}
    return {path: before.get(path, "author") for path in leaf_paths(architecture.to_document()["config"], "")}


def _load(path: Path, code: Code, architecture: PolicyArchitecture, rules: GameRules) -> Policy:
    from app_loader.load import restore_policy

    subject = f"{architecture.kind} of {code.distribution} {code.version}"
    policy = build_on_meta(architecture, rules, subject=subject)
    with open_archive(path) as archive:
        restore_policy(policy, archive, device="cpu", subject=subject)
    return policy


def _load_trained(archive: Archive, store: Store) -> Policy | None:
    from app_loader.load import load_with, resolve_archive

    try:
        return load_with(archive, resolve_archive(archive, "trained", store))
    except LoaderError:
        return None  # the proof says that it had no old code to compare with


def _said(proof: Proof) -> list[str]:
    said = []
    for where, rows in (("witness", proof.on_witness), ("fresh observations", proof.on_fresh)):
        for d in rows:
            told = d.note or f"largest difference {d.largest:.3g}, {d.differing} of {d.elements} outside the tolerance"
            if not d.within:
                said.append(f"{where}, {d.name}: {told}")
    return said or list(proof.missing)


def _lineage(archive: Archive, route: Route, proof: Proof) -> dict[str, Any]:
    before = (archive.manifest.lineage or {}).get("revisions")
    applied = list(before) if isinstance(before, list) else []
    applied += [f"-{name}" if route.backwards else name for name in route.ids]
    return {"parent": archive.manifest.content_digest, "revisions": applied, "proof": proof.to_document()}


def _with_witness(content: ArchiveContent, policy: Policy) -> ArchiveContent:
    """Record the new code's behaviour: what the old one recorded speaks of other rules, or is known not to be met."""
    recorded = record_witness(policy)
    return replace(content, witness=recorded.tensors, witness_spec=recorded.spec.to_document())


def _follows_nothing(path: Path, code: Code) -> bool:
    with open_archive(path) as archive:
        return not find_route(archive.manifest, archive.architecture, code, subject=str(path)).revisions
