"""Saving: a policy becomes an archive that can be loaded years later.

Before anything is written the policy is built twice on the `meta` device, from its live architecture and from the text
that will be stored: what the archive says must be enough to build it again. Then its load is rehearsed.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from mpt_format import ArchiveContent, WrittenArchive, collect_state, write_archive
from packaging.utils import canonicalize_name
from policy_interface import GameRules, Policy, PolicyArchitecture, origin_of
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from app_loader import trainer_state
from app_loader.build import build_on_meta
from app_loader.code_record import find_code, record_code
from app_loader.errors import BuildError
from app_loader.loaded import LoadedPolicy
from app_loader.rehearsal import rehearse_load
from app_loader.revisions import find_head
from app_loader.rules_adaptation import RenumberedPolicy
from app_loader.store.shared import judge_shared_libraries
from app_loader.witness import record_witness

if TYPE_CHECKING:
    from policy_interface.policy import Observation
    from torch.optim import Optimizer

_RECORDED = ("torch", "numpy", "pydantic", "safetensors", "policy-interface", "mpt-format", "app-loader")

_LAZY = "uninitialised"
"""Said in place of a shape that a lazy module finds out only when it is called: no config tells it."""

_COMPILED = "; a compiled submodule has other keys: module.compile() compiles in place and keeps them"


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
            and the original names that made it, with the archive it came from as its parent; one that was adapted to
            renumbered rules under those it was made for, since its weights are: loading adapts it again.
        path: where to write; what stands there is replaced in one step at the end.
        observations: what the witness sees, leading axes [step, batch]; None draws seeded ones from the rules.
        witness: whether to record one.
        optimizer: over the module's parameters; its state goes into ``trainer/``.
        training: plain data about the run, kept as ``training.json``.
        lineage: parent digest and applied revisions; None derives it from a loaded policy.
        readme: Markdown text kept as ``README.md``.
        created: whether to record the time; two saves without it are byte-identical.

    Raises:
        TypeError: `policy` is no Policy, as is a DataParallel around one.
        BuildError: the architecture cannot build the policy again, builds another one, or one that does something else.
        MigrationError: the code's migration revisions contradict each other.
        UnstorableStateError: the module's state holds what is no tensor and no JSON.
        ArchiveWriteError: the disk refused; whatever stood at `path` is untouched.
    """
    policy = getattr(policy, "_orig_mod", policy)  # torch.compile(policy) is a module around it
    if not isinstance(policy, Policy):
        raise TypeError(
            f"save_policy takes a Policy, got {type(policy).__qualname__}; save the policy inside a wrapper"
        )
    inner = policy.unwrap() if isinstance(policy, LoadedPolicy) else policy
    if isinstance(inner, RenumberedPolicy):
        observations = None if observations is None else inner.to_old(observations)
        inner = inner.unwrap()
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
    rebuilt = _rebuild(architecture, rules, module, text, subject)
    state = collect_state(module, type_name=type_name)
    recorded = record_witness(inner, observations=observations) if witness else None
    rehearse_load(rebuilt, module, recorded, subject=subject)
    slots = None if optimizer is None else trainer_state.collect_optimizer(optimizer, module)
    code = record_code(type(architecture), {type(each) for each in module.modules()})
    content = ArchiveContent(
        code=code.record,
        requires=code.requires,
        environment=_environment(code.requires["distributions"]),
        migration=_migration(type(architecture)),
        architecture=text,
        config_sources=dict(_config_sources(architecture)),
        game_rules=rules.to_document(),
        state=state,
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


def _rebuild(architecture: PolicyArchitecture, rules: GameRules, module: nn.Module, text: str, subject: str) -> Policy:
    """Return the policy built on ``meta`` from the stored text, after comparing its tensors with the live ones."""
    read = type(architecture).from_document(yaml.safe_load(text))
    live = _signature(module)
    for said, described in (("its live architecture", architecture), ("its stored text", read)):
        policy = build_on_meta(described, rules, subject=subject)
        rebuilt = {} if policy.module is None else _signature(policy.module)
        keys = sorted(live.keys() | rebuilt.keys())
        differing = [key for key in keys if live.get(key) != rebuilt.get(key) or live.get(key) == _LAZY]
        if differing:
            shown = ", ".join(f"{key} ({live.get(key)} live, {rebuilt.get(key)} rebuilt)" for key in differing[:8])
            raise BuildError(
                subject,
                stage="save",
                cause=f"rebuilt from {said} the policy has other tensors: {shown}; "
                "whatever shapes a tensor must stand in the resolved config"
                + (_COMPILED if any("_orig_mod." in key for key in differing) else ""),
            )
    return policy


def _signature(module: nn.Module) -> dict[str, tuple[int, ...] | str]:
    """Return the shapes by key. Not the dtypes: a policy may have been cast, the archive keeps each tensor's own."""
    return {
        key: _LAZY if is_lazy(value) else tuple(value.shape)
        for key, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }


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


def _environment(requirements: Iterable[str]) -> dict[str, str]:
    """Return what the policy was made with: the interpreter, and the version of each library that its code requires."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    required = [library.name for library in judge_shared_libraries(requirements, ())]
    for name in dict.fromkeys([*_RECORDED, *map(canonicalize_name, required)]):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
