"""Loading, as one sentence: open -> verify -> resolve -> judge -> isolate -> build -> restore -> check."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mpt_format import Archive, open_archive
from policy_interface import GameRules, InvalidConfigError, Policy

from app_loader.build import build_on_meta, read_architecture
from app_loader.code import Code, StoredCode
from app_loader.commands import completed
from app_loader.devices import check_device
from app_loader.errors import BuildError, ResolutionError, SettingsError, VersionNotStoredError, WitnessError
from app_loader.judge import SharedLibraryWarning, check_contract, find_outside, table_of
from app_loader.loaded import LoadedPolicy, LoadOrigin
from app_loader.resolve import Resolution, resolve
from app_loader.restore import restore
from app_loader.revisions import Migrated, find_route, follow
from app_loader.revisions.projected import project
from app_loader.revisions.route import Route
from app_loader.revisions.wrapper import find_wrapper, tensor_keys
from app_loader.settings import Settings, read_settings
from app_loader.store import Store
from app_loader.witness import Witness, WitnessReport, WitnessSpec, replay_witness

if TYPE_CHECKING:
    import torch

Verify = Literal["structure", "full", "witness"]
"""How much is checked: the container and every key and shape; also every digest, of the archive and of the stored code;
also the recorded behaviour."""


def load_policy(
    path: str | Path,
    *,
    code: str = "trained",
    rules: GameRules | None = None,
    device: str | torch.device = "cpu",
    verify: Verify | None = None,
    store: Store | str | Path | None = None,
) -> LoadedPolicy:
    """Load a policy with the code it was trained with, or with other code when asked.

    Args:
        path: the archive.
        code: ``trained`` is exactly the code the checkpoint was trained with, by digest, and never falls back to other
            code; ``current`` is the installed code; anything else is a stored version, as in ``0.2.0``, or
            ``0.2.0@DIGEST`` where one version is stored twice.
        rules: today's game rules; the policy is adapted to them by the names of features and actions.
        device: where the weights go.
        verify: how much is checked before the policy is returned. None is ``structure`` for the trained code; other
            code, and code beside shared libraries outside the ranges it asks for, also has to do what the witness
            recorded, because no key and no shape shows a change of meaning.
        store: the store of wheels; None is the default one.

    Returns:
        A generic `Policy` in evaluation mode that delegates to the one the code made.

    Raises:
        ValueError: `verify` is none of its values: a typing error must not mean that less is checked.
        DeviceError: `device` is not here, or is ``meta``, which holds no values.
        ArchiveError: the archive is missing, damaged, hostile or malformed; nothing was executed.
        UnsupportedVersionError: the archive needs a newer reader.
        ResolutionError: no code may be used; every candidate is named with its reason.
        IntegrityError: the stored code is not what was unpacked, as far as `verify` looks.
        IncompatibleInterfaceError: the code asks for another contract than the installed one; none of it has run.
        IsolationError: the code cannot be imported in isolation.
        BuildError: the code cannot build the policy from the archive's config.
        RestoreError: the weights do not fit what the code built.
        WitnessError: the policy does not do what was recorded, or ``verify="witness"`` and nothing was recorded.
        MigrationError: the revisions between the checkpoint and this code cannot be followed; the reason is named.
        RulesMismatchError: `rules` differ by more than a renumbering or rescaling.
    """
    if verify is not None and verify not in get_args(Verify):
        raise ValueError(f"verify is {verify!r}, expected one of {', '.join(get_args(Verify))}, or None")
    check_device(device)
    opened_store = store if isinstance(store, Store) else Store(store)
    with open_archive(path) as archive, completed(path, store=opened_store, code=code):
        archive.verify("full" if verify in ("full", "witness") else "structure")
        resolution = resolve_archive(archive, code, opened_store)
        if verify in ("full", "witness"):
            check_stored(resolution, opened_store)
        loaded = load_with(archive, resolution, device=device)
        exact = code == "trained" and resolution.chosen is not None and resolution.chosen.exact
        doubtful = not exact or bool(loaded.origin.outside)
        unproven = verify is None and doubtful and archive.manifest.witness is not None
        if verify == "witness" or unproven:
            check_witness(loaded, archive)
        return loaded if rules is None else loaded.adapt(rules)


def resolve_archive(archive: Archive, requested: str, store: Store) -> Resolution:
    """Return what could compute an archive's policy; nothing is imported.

    Raises:
        ResolutionError: the archive names no code or no architecture: it holds weights alone.
    """
    record = archive.manifest.code
    if record is None or archive.manifest.architecture is None:
        raise BuildError(
            str(archive.path),
            stage="resolve",
            cause="the archive holds weights without a policy: it names no code and no architecture",
            next_command="mpt convert SOURCE -o NEW.mpt --kind KIND --config CONFIG.yaml --rules RULES.json",
        )
    resolution = resolve(record, requested, store)
    if resolution.chosen is not None:
        return resolution
    try:
        settings = read_settings()
    except SettingsError:  # they are asked for the next command only, which names what is wrong with them
        settings = Settings()
    return resolve(
        record,
        requested,
        store,
        wheelhouses=settings.wheelhouses,
        archive=shlex.quote(str(archive.path)),
        indexed=any(index.gives(record.distribution) for index in settings.indexes),
    )


def check_stored(resolution: Resolution, store: Store) -> None:
    """Check every file of stored code against what was pinned when it was unpacked; of an installed one nothing is.

    What was compiled from it before is no file of the wheel: nothing pins it, and it is not used here.

    Raises:
        IntegrityError: a file differs, is missing or is new; nothing of it has run.
    """
    chosen = resolution.chosen
    if chosen is not None and isinstance(chosen.code, StoredCode):
        store.check(chosen.code.entry)
        chosen.code.entry.unit.bytecode = None


def load_with(archive: Archive, resolution: Resolution, *, device: str | torch.device = "cpu") -> LoadedPolicy:
    """Judge, isolate, build and restore with the code that a resolution chose.

    Raises:
        As `load_policy`.
    """
    code = check_resolution(archive, resolution)
    check_contract(code)
    path = str(archive.path)
    outside = find_outside(code, archive.manifest.environment)
    if outside:
        warnings.warn(
            f"{path}: {code.distribution} {code.version} runs beside shared libraries outside the ranges it asks for; "
            f"load with verify='witness' to see whether it does what was recorded\n{table_of(outside)}",
            SharedLibraryWarning,
            stacklevel=3,
        )
    migrated = follow_revisions(archive, resolution, code)
    document = archive.architecture if migrated is None else migrated.architecture
    subject = f"{document['kind']} of {code.distribution} {code.version}"
    architecture = read_architecture(code, document, archive=path)
    rules = read_rules(archive, None if migrated is None else migrated.rules)
    policy = build_on_meta(architecture, rules, subject=subject, archive=path)
    fitted, wrapper = _see_through_wrapper(archive, resolution, policy, migrated)
    restore_policy(policy, archive, device=device, subject=subject, migrated=fitted)
    chosen = resolution.chosen
    origin = LoadOrigin(
        distribution=code.distribution,
        version=code.version,
        digest=code.wheel_sha256,
        mode=code.mode,
        reason="; ".join(filter(None, (chosen.reason if chosen else "", wrapper))),
        revisions=() if migrated is None else migrated.route.ids,
        outside=tuple(each.name for each in outside),
    )
    return LoadedPolicy(
        policy,
        origin=origin,
        manifest=archive.manifest,
        content_digest=archive.manifest.content_digest,
        route=None if migrated is None else migrated.route,
    )


def _see_through_wrapper(
    archive: Archive, resolution: Resolution, policy: Policy, migrated: Migrated | None
) -> tuple[Migrated | None, str]:
    """Return the archive without a wrapper around its whole tree, or within one, and what was done in words.

    The code that a checkpoint was trained with has its very keys.
    """
    if resolution.requested == "trained" or policy.module is None:
        return migrated, ""
    wanted = tensor_keys(policy.module)
    if migrated is None:
        if find_wrapper(archive.tensors.keys() | archive.aliases.keys(), wanted) is None:
            return None, ""
        migrated = follow(archive, Route(revisions=(), backwards=False, head=None))
    migrated = migrated.fitted(wanted)
    said = [f"every key {rename.old!r} is {rename.new!r} in this code" for rename in migrated.wrappers]
    return migrated, "; ".join(said)


def follow_revisions(archive: Archive, resolution: Resolution, code: Code) -> Migrated | None:
    """Return the archive seen through the reviewed revisions between it and the code; None where there are none.

    The code that a checkpoint was trained with never needs one. Nothing is computed but shapes.

    Raises:
        MigrationError: the revisions contradict each other, one is an unreviewed draft, or one does not fit the
        archive.
    """
    if resolution.requested == "trained":
        return None
    route = find_route(archive.manifest, archive.architecture, code, subject=str(archive.path))
    return follow(archive, route) if route.revisions else None


def check_resolution(archive: Archive, resolution: Resolution) -> Code:
    """Return the code that was chosen.

    Raises:
        VersionNotStoredError: none was, because it is not at hand.
    """
    chosen = resolution.chosen
    if chosen is not None and chosen.code is not None:
        return chosen.code
    record = archive.manifest.code
    if record is None:
        raise ResolutionError(str(archive.path), resolution)
    wanted = record.version if resolution.requested in ("trained", "current") else resolution.requested
    raise VersionNotStoredError(
        distribution=record.distribution,
        version=wanted,
        digest=record.wheel_sha256 if resolution.requested == "trained" else None,
        store=resolution.store,
        resolution=resolution,
        archive=str(archive.path),
        next_command=resolution.next_command,
    )


def read_rules(archive: Archive, migrated: Mapping[str, Any] | None = None) -> GameRules:
    """Return the rules that the policy was made for, or what revisions made of them.

    Raises:
        BuildError: the archive has none, or they do not fit this contract.
    """
    if archive.game_rules is None:
        raise BuildError(
            str(archive.path), stage="rules", cause="the archive has no game_rules.json", archive=str(archive.path)
        )
    try:
        return GameRules.from_document(archive.game_rules if migrated is None else migrated)
    except InvalidConfigError as error:
        raise BuildError(str(archive.path), stage="rules", cause=str(error), problems=error.problems) from error


def restore_policy(
    policy: Policy,
    archive: Archive,
    *,
    device: str | torch.device,
    subject: str,
    migrated: Migrated | None = None,
) -> None:
    """Put the archive's weights into a policy built on ``meta``; it is left in evaluation mode.

    Raises:
        BuildError: the policy has no module to put weights into.
        RestoreError: they do not fit.
    """
    if policy.module is None:
        raise BuildError(subject, stage="make_policy", cause="the policy's module is None")
    if migrated is None:
        restore(policy.module, archive.read_state_dict(device=device), subject=subject, archive=str(archive.path))
    else:
        restore(policy.module, migrated.make_state_dict(), subject=subject, archive=str(archive.path))
    policy.module.to(device)  # also what no state dict carries
    policy.module.eval()


def read_witness(archive: Archive) -> Witness | None:
    """Return the archive's witness, or None when it was saved without one."""
    tensors = archive.read_witness()
    if tensors is None or archive.manifest.witness is None:
        return None
    return Witness(spec=WitnessSpec.from_document(archive.manifest.witness), tensors=tensors)


def _as_recorded(policy: LoadedPolicy, archive: Archive) -> Policy:
    """Return the policy as the archive's rules see it: revisions may have added actions since."""
    if not policy.origin.revisions or policy.route is None:
        return policy
    return project(policy, read_rules(archive), policy.route)


def check_witness(policy: LoadedPolicy, archive: Archive) -> WitnessReport:
    """Replay the archive's witness.

    Raises:
        WitnessError: the archive has none, or the policy does not do what it recorded.
    """
    subject = f"{archive.path} with {policy.origin}"
    witness = read_witness(archive)
    if witness is None:
        raise WitnessError(subject, None)
    report = replay_witness(_as_recorded(policy, archive), witness)
    if not report.met:
        raise WitnessError(subject, report)
    return report
