"""What goes into an archive, as one value, and the judgement whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpt_format import format as layout
from mpt_format.errors import ArchiveProblem, UnstorableStateError
from mpt_format.manifest import is_name
from mpt_format.module_state import ModuleState
from mpt_format.payload import TensorPayload
from mpt_format.records import CodeRecord
from mpt_format.strict_json import Json, validate_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveContent:
    """Everything that `write_archive` writes.

    Attributes:
        state: tensors, aliases, modules, extra state; from `collect_state`.
        architecture: the document (``kind``, ``schema_version``, ``config``) or its YAML text; None: weights only.
        config_sources: dotted config path -> ``author`` or ``default``.
        game_rules: the document of the game rules, strict JSON.
        code: the model code that made the policy.
        requires: what must hold to run it, strict JSON.
        environment: versions at the time of saving.
        migration: ``{"head": ...}``, strict JSON.
        witness: the witness tensors by name.
        witness_spec: how the witness was drawn (seed, tolerance, steps, batch, outputs), strict JSON.
        training: a short account of the training run for the manifest, strict JSON.
        lineage: parent digest and applied revisions, strict JSON.
        source_diff: the difference of a dirty tree, bytes.
        pylock: the text of the environment's lock (PEP 751).
        training_document: the document of training.json, strict JSON.
        readme: Markdown text.
        trainer_tensors: name of a ``trainer/<name>.safetensors`` member -> its tensors.
        trainer_documents: name of a ``trainer/<name>.json`` member -> strict JSON.
        created: ISO 8601 time in UTC; None leaves it out, and two saves give the same bytes.
    """

    state: ModuleState
    architecture: Mapping[str, Json] | str | None = None
    config_sources: Mapping[str, str] = field(default_factory=dict)
    game_rules: Mapping[str, Json] | None = None
    code: CodeRecord | None = None
    requires: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    migration: Mapping[str, Json] = field(default_factory=dict)
    witness: Mapping[str, torch.Tensor | TensorPayload] | None = None
    witness_spec: Mapping[str, Json] | None = None
    training: Mapping[str, Json] | None = None
    lineage: Mapping[str, Json] | None = None
    source_diff: bytes | None = None
    pylock: str | None = None
    training_document: Mapping[str, Json] | None = None
    readme: str | None = None
    trainer_tensors: Mapping[str, Mapping[str, torch.Tensor | TensorPayload]] = field(default_factory=dict)
    trainer_documents: Mapping[str, Json] = field(default_factory=dict)
    created: str | None = None


def check_content(content: ArchiveContent) -> None:
    """Refuse what could not be read back.

    Raises:
        UnstorableStateError: with every problem found.
    """
    problems: list[ArchiveProblem] = []
    for name in ("requires", "environment", "migration", "witness_spec", "training", "lineage", "config_sources"):
        value = getattr(content, name)
        if value is not None:
            problems.extend(validate_json(dict(value), where=name))
    for name in ("game_rules", "training_document"):
        value = getattr(content, name)
        if value is not None:
            problems.extend(validate_json(dict(value), where=name))
    problems.extend(validate_json(dict(content.state.extra_state), where="extra_state"))
    problems.extend(validate_json(dict(content.trainer_documents), where="trainer_documents"))
    if (content.witness is None) != (content.witness_spec is None):
        problems.append(ArchiveProblem(where="witness", message="and witness_spec go together"))
    for kind, names in (("safetensors", content.trainer_tensors), ("json", content.trainer_documents)):
        for name in names:
            if not layout.TRAINER_MEMBER.fullmatch(f"trainer/{name}.{kind}"):
                message = "is not a name of lower-case letters, digits and '_'"
                problems.append(ArchiveProblem(where=f"trainer/{name!r:.80}", message=message))
    for table in (content.state.tensors, content.state.aliases, content.state.modules):
        problems.extend(
            ArchiveProblem(where=repr(name)[:80], message="has control characters or is too long")
            for name in table
            if not is_name(name)
        )
    if problems:
        raise UnstorableStateError(problems)
