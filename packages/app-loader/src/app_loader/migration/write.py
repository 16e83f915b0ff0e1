"""Write a migrated archive: once, as a whole, with its parent and its revisions in the lineage.

What only took another name is mapped from the old archive, what is computed is computed once (`spill`). On that the
state is checked and, unless asked otherwise, proven; then the new file is written beside its place, flushed and
renamed. The source is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from mpt_format import Archive, ArchiveContent, open_archive, write_archive
from policy_interface import GameRules, Policy, PolicyArchitecture
from torch import nn

from app_loader.build import build_on_meta, read_architecture
from app_loader.code import Code
from app_loader.commands import completed
from app_loader.errors import LoaderError, MigrationError
from app_loader.judge import check_contract
from app_loader.migration.check import check_bijection, check_round_trip
from app_loader.migration.content import make_content, make_lineage, with_witness
from app_loader.migration.proof import Proof, prove
from app_loader.migration.spill import Spill
from app_loader.revisions.history import check_command
from app_loader.revisions.migrated import Migrated, follow
from app_loader.revisions.route import find_route
from app_loader.revisions.wrapper import tensor_keys
from app_loader.store import Store


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
        missing_code: what to run so that the code it was trained with is at hand, for a proof on fresh observations;
            empty when it was.
    """

    source: str
    target: str | None
    route: tuple[str, ...]
    backwards: bool
    round_trip: str
    idempotent: bool
    proof: Proof | None
    parent: str
    missing_code: str = ""

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
            "missing_code": self.missing_code,
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
        told = f"mpt migrate {quote(str(source))} -o NEW.mpt"
        raise MigrationError(str(source), ["the target is the source; a migration never overwrites what it read"], told)
    with open_archive(source) as archive, completed(source, store=opened, code=code):
        archive.verify("full")
        chosen = check_resolution(archive, resolve_archive(archive, code, opened))
        check_contract(chosen)
        route = find_route(archive.manifest, archive.architecture, chosen, subject=str(source))
        migrated = follow(archive, route)
        architecture, rules, module = _build(chosen, migrated, archive)
        migrated = migrated.fitted(tensor_keys(module))
        check_bijection(migrated, module, subject=f"{source} to {chosen.distribution} {chosen.version}")
        beside = source.stat().st_size - archive.members["weights.safetensors"].size_bytes  # padding and all
        with Spill(target, migrated.tensors, beside) as spill:
            spill.compute()
            migrated = spill.mapped(migrated)
            round_trip = check_round_trip(archive, route, subject=str(source), migrated=migrated)
            content = make_content(archive, migrated, architecture, module)
            _check_idempotence(archive, content, migrated, chosen)
            apart = spill.mapped(follow(archive, route).fitted(tensor_keys(module)))  # see Spill: a mapping of its own
            new = _load(archive, apart, chosen, architecture, rules)
            trained, missing_code = _load_trained(archive, opened)
            proof = prove(archive, trained, new, route)
            if not proof.held and not unproven:
                again = f"mpt migrate {quote(str(source))} -o {quote(str(target))} --to {code} --unproven"
                raise MigrationError(str(source), _said(proof), f"{again}   # writes it with the difference")
            if not proof.held or migrated.rules != archive.game_rules:
                content = with_witness(content, new)
            write_archive(target, replace(content, lineage=make_lineage(archive, route, proof)))
        return MigrationReport(
            source=str(source),
            target=str(target),
            route=route.ids,
            backwards=route.backwards,
            round_trip=round_trip,
            idempotent=True,
            proof=proof,
            parent=archive.manifest.content_digest,
            missing_code=missing_code,
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


def _check_idempotence(archive: Archive, content: ArchiveContent, migrated: Migrated, code: Code) -> None:
    """Check that nothing lies between the new archive and the code.

    Raises:
        MigrationError: a revision does; migrating the result again would change it.
    """
    subject = str(archive.path)
    manifest = replace(archive.manifest, code=content.code, migration=content.migration)
    if find_route(manifest, migrated.architecture, code, subject=subject).revisions:
        raise MigrationError(subject, ["migrating the result again would change it"], check_command(code))


def _load(
    archive: Archive, migrated: Migrated, code: Code, architecture: PolicyArchitecture, rules: GameRules
) -> Policy:
    from app_loader.load import restore_policy

    subject = f"{architecture.kind} of {code.distribution} {code.version}"
    policy = build_on_meta(architecture, rules, subject=subject)
    restore_policy(policy, archive, device="cpu", subject=subject, migrated=migrated)
    return policy


def _load_trained(archive: Archive, store: Store) -> tuple[Policy | None, str]:
    """Return the policy with the code it was trained with, or None and what to run to have that code at hand."""
    from app_loader.load import load_with, resolve_archive

    try:
        return load_with(archive, resolve_archive(archive, "trained", store)), ""
    except LoaderError as error:
        return None, str(getattr(error, "next_command", ""))  # the proof says that it had no old code to compare with


def _said(proof: Proof) -> list[str]:
    said = []
    for where, rows in (("witness", proof.on_witness), ("fresh observations", proof.on_fresh)):
        for d in rows:
            told = d.note or f"largest difference {d.largest:.3g}, {d.differing} of {d.elements} outside the tolerance"
            if not d.within:
                said.append(f"{where}, {d.name}: {told}")
    return said or list(proof.missing)
