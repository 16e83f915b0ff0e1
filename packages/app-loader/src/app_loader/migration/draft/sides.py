"""Both sides of a draft: an archive at the end of its reviewed way, and the code that it is to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mpt_format import Archive
from policy_interface import GameRules, InvalidConfigError, PolicyArchitecture
from torch import Tensor

from app_loader.build import build_on_meta
from app_loader.code import Code
from app_loader.diagnosis.assumed import assume
from app_loader.diagnosis.config_stage import judge_config
from app_loader.diagnosis.finding import Finding
from app_loader.diagnosis.kind_stage import find_kind
from app_loader.errors import BuildError, MigrationError
from app_loader.matching import Match, TensorInfo
from app_loader.migration.draft.operations import certain_operations
from app_loader.migration.draft.renamed_fields import follow_renamed
from app_loader.revisions import Migrated, follow
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.route import find_route
from app_loader.revisions.signatures import migrated_signature, module_signature
from app_loader.revisions.tensors import TensorState, apply_tensor_ops


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What a draft is made from.

    Attributes:
        archive: opened.
        code: where to.
        migrated: the archive at the end of the reviewed revisions that lie before the draft.
        architecture: of the new code, from the nearest config that it accepts.
        assumptions: what had to be assumed in that config, one sentence each.
        config: every difference between the archive's config and the code's.
        rules: to build for.
        old: the archive's tensors at the end of the reviewed way.
        new: the code's tensors.
        tied: groups of keys that share one tensor, of both sides.
    """

    archive: Archive
    code: Code
    migrated: Migrated
    architecture: PolicyArchitecture
    assumptions: tuple[str, ...]
    config: tuple[Finding, ...]
    rules: GameRules
    old: Sequence[TensorInfo]
    new: Sequence[TensorInfo]
    tied: tuple[list[list[str]], list[list[str]]]

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The archive's tensors; mapped ones stay mapped."""
        return {key: lazy.compute(key) for key, lazy in self.migrated.tensors.items()}

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum({id(lazy): lazy.size_bytes for lazy in self.migrated.tensors.values()}.values())

    @property
    def buffers(self) -> frozenset[str]:
        """Keys of old tensors that are no parameters."""
        return frozenset(info.key for info in self.old if info.kind == "buffer")

    def certain_tensors(self, matches: Sequence[Match], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the new tensors that certain matches give.

        Args:
            matches: one per new tensor.
            tensors: the old ones, with any numbers.
        """
        state = TensorState.of({key: LazyTensor.of(value) for key, value in tensors.items()})
        apply_tensor_ops(state, certain_operations(matches, self.old, self.new), {}, subject="trial")
        wanted = {match.new for match in matches if match.confidence == "auto"}  # an equal key may mean another tensor
        return {key: lazy.compute(key) for key, lazy in state.tensors.items() if key in wanted}


class Built(NamedTuple):
    """What the new code makes of a document."""

    architecture: PolicyArchitecture
    assumptions: tuple[str, ...]
    tensors: Sequence[TensorInfo]
    tied: list[list[str]]


def read_sides(archive: Archive, code: Code) -> Sides:
    """Return both sides.

    Raises:
        MigrationError: the history of the code is broken, or a revision on the way is a draft or cannot be followed.
        BuildError: the code does not build the policy, whatever is assumed in the config.
        UnknownKindError: the code has nothing that could be meant by the archive's kind.
    """
    path = str(archive.path)
    route = find_route(archive.manifest, archive.architecture, code, subject=path)
    migrated = follow(archive, route)
    document = migrated.architecture
    kind = find_kind(code, str(document["kind"]))
    if kind.cls is None:
        code.architecture_class(str(document["kind"]))  # raises what is wrong with it
        raise AssertionError("a class that is there was not found")
    cls, subject = kind.cls, f"{kind.kind} of {code.distribution} {code.version}"
    try:
        rules = GameRules.from_document(migrated.rules)
    except InvalidConfigError as error:
        raise BuildError(subject, stage="rules", cause=str(error), problems=error.problems, archive=path) from error

    def build(document: Mapping[str, Any]) -> Built:
        assumed = assume(document, cls)
        try:
            architecture = cls.from_document(assumed.document)
        except InvalidConfigError as error:
            raise BuildError(
                subject, stage="config", cause=str(error), problems=error.problems, archive=path
            ) from error
        module = build_on_meta(architecture, rules, subject=subject, archive=path).module
        if module is None:
            raise MigrationError(path, [f"{subject} has no module"])
        return Built(architecture, assumed.assumptions, *module_signature(module))

    def try_to_build(document: Mapping[str, Any]) -> Sequence[TensorInfo] | None:
        try:
            return build(document).tensors
        except (BuildError, MigrationError):
            return None

    old, tied_old = migrated_signature(migrated, archive)
    record = archive.manifest.architecture
    config = (*kind.findings, *judge_config(document, cls, record.config_sources if record else {}))
    document, config = follow_renamed(document, config, old, try_to_build)
    built = build(document)
    return Sides(
        archive=archive,
        code=code,
        migrated=migrated,
        architecture=built.architecture,
        assumptions=built.assumptions,
        config=config,
        rules=rules,
        old=old,
        new=built.tensors,
        tied=(tied_old, built.tied),
    )
