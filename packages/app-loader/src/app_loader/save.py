"""Saving: a policy becomes an archive that can be loaded years later.

Before anything is written the policy is built twice on the `meta` device, from its live architecture and from the text
that will be stored: what the archive says must be enough to build it again.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from mpt_format import ArchiveContent, WrittenArchive, collect_state, write_archive
from policy_interface import GameRules, Policy, PolicyArchitecture, origin_of
from torch import Tensor, nn

from app_loader import trainer_state
from app_loader.build import build_on_meta
from app_loader.code_record import find_code, record_code
from app_loader.errors import BuildError
from app_loader.loaded import LoadedPolicy
from app_loader.revisions import find_head
from app_loader.witness import record_witness

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch.optim import Optimizer

_RECORDED = ("torch", "numpy", "pydantic", "safetensors", "policy-interface", "mpt-format", "app-loader")


def save_policy(
    policy: Policy,
    path: str | Path,
    *,
    observations: Observation | None = None,
    witness: bool = True,
    optimizer: Optimizer | None = None,
    training: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    readme: str | None = None,
    created: bool = True,
) -> WrittenArchive:
    """Write a policy to an archive, through a temporary file.

    Args:
        policy: in this process (its `module` is not None). A policy that `load_policy` gave is saved under the code
            and the original names that made it, with the archive it came from as its parent.
        path: where to write; what stands there is replaced in one step at the end.
        observations: what the witness sees, leading axes [step, batch]; None draws seeded ones from the rules.
        witness: whether to record one.
        optimizer: over the module's parameters; its state goes into ``trainer/``.
        training: plain data about the run, kept as ``training.json``.
        lineage: parent digest and applied revisions; None derives it from a loaded policy.
        readme: Markdown text kept as ``README.md``.
        created: whether to record the time; two saves without it are byte-identical.

    Raises:
        BuildError: the architecture cannot build the policy again, or builds another one.
        MigrationError: the code's migration revisions contradict each other.
        UnstorableStateError: the module's state holds what is no tensor and no JSON.
        ArchiveWriteError: the disk refused; whatever stood at `path` is untouched.
    """
    inner = policy.unwrap() if isinstance(policy, LoadedPolicy) else policy
    if lineage is None and isinstance(policy, LoadedPolicy):
        lineage = {"parent": policy.content_digest}
    module = inner.module
    architecture, rules = inner.architecture, inner.rules
    subject = f"{architecture.kind} of {origin_of(type(architecture))}"
    if module is None:
        raise BuildError(
            subject, stage="save", cause="the policy's module is None: save it in the process that holds it"
        )
    text = architecture.to_yaml()
    _check_rebuilds(architecture, rules, module, text, subject)
    recorded = record_witness(inner, observations=observations) if witness else None
    slots = None if optimizer is None else trainer_state.collect_optimizer(optimizer, module)
    code = record_code(type(architecture))
    content = ArchiveContent(
        code=code.record,
        requires=code.requires,
        environment=_environment(),
        migration=_migration(type(architecture)),
        architecture=text,
        config_sources=dict(_config_sources(architecture)),
        game_rules=rules.to_document(),
        state=collect_state(module, type_name=type_name),
        witness=None if recorded is None else recorded.tensors,
        witness_spec=None if recorded is None else recorded.spec.to_document(),
        source_diff=code.diff,
        training_document=training,
        trainer_tensors={} if slots is None else {trainer_state.MEMBER: slots.tensors},
        trainer_documents={} if slots is None else {trainer_state.MEMBER: slots.document},
        readme=readme,
        lineage=lineage,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds") if created else None,
    )
    return write_archive(path, content)


def _check_rebuilds(
    architecture: PolicyArchitecture, rules: GameRules, module: nn.Module, text: str, subject: str
) -> None:
    read = type(architecture).from_document(yaml.safe_load(text))
    live = _signature(module)
    for said, described in (("its live architecture", architecture), ("its stored text", read)):
        built = build_on_meta(described, rules, subject=subject).module
        rebuilt = {} if built is None else _signature(built)
        differing = sorted(key for key in live.keys() | rebuilt.keys() if live.get(key) != rebuilt.get(key))
        if differing:
            shown = ", ".join(f"{key} ({live.get(key)} live, {rebuilt.get(key)} rebuilt)" for key in differing[:8])
            raise BuildError(
                subject,
                stage="save",
                cause=f"rebuilt from {said} the policy has other tensors: {shown}; "
                "whatever shapes a tensor must stand in the resolved config",
            )


def _signature(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes by key. Not the dtypes: a policy may have been cast, the archive keeps each tensor's own."""
    return {key: tuple(value.shape) for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def type_name(cls: type) -> str:
    """Return a class's original name, also when its module was imported in isolation."""
    origin = origin_of(cls)
    return f"{origin.module}.{origin.qualname}"


def _config_sources(architecture: PolicyArchitecture) -> Iterator[tuple[str, str]]:
    chosen = set(architecture.fields_set())
    for path in leaf_paths(architecture.to_document()["config"], ""):
        yield path, "author" if path in chosen else "default"


def leaf_paths(document: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted path of every value of a config document."""
    if isinstance(document, Mapping) and document:
        for key, value in document.items():
            yield from leaf_paths(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix


def _migration(cls: type[PolicyArchitecture]) -> dict[str, Any]:
    """Return the revision that the policy's code ends with, so that later code knows where to go on."""
    head = find_head(find_code(cls))
    return {} if head is None else {"head": head}


def _environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
