"""The values of a manifest: one frozen class per record, knowing nothing of files.

`extra` in each keeps the fields of a newer revision, so that rewriting a manifest loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mpt_format.strict_json import Json

TensorKind = Literal["parameter", "buffer", "extra_state", "storage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRecord:
    """The model code that made the policy; nothing here is ever imported.

    Attributes:
        distribution: name of the distribution, as in ``model-zoo``.
        version: its version text.
        wheel_sha256: digest of the wheel, hex; this pins the code, the version does not. None when it was no wheel.
        unit_sha256: digest of the wheel together with its private companions, hex; None when it had none.
        package: the top-level package that holds the policy's class, as in ``model_zoo``.
        package_sha256: digest over the package's own files (paths and contents), hex: it pins code that was no wheel
            yet when the policy was saved, and recognises the same code in a wheel built later.
        repository: where the source lives, credentials stripped.
        commit: the commit of the source, hex.
        branch: the branch at that time.
        dirty: whether the working tree differed from the commit; None when unknown.
        diff_member: the member that holds the difference, normally ``source.diff``.
        extra: fields of a newer revision.
    """

    distribution: str
    version: str
    wheel_sha256: str | None = None
    unit_sha256: str | None = None
    package: str | None = None
    package_sha256: str | None = None
    repository: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    diff_member: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureRecord:
    """What policy_architecture.yaml says, repeated for readers without YAML.

    Attributes:
        kind: name of the architecture, resolved through the wheel's entry points.
        schema_version: version of the kind's config schema.
        config_sources: dotted path of a config field -> ``author`` (was set) or ``default`` (took its default).
        extra: fields of a newer revision.
    """

    kind: str
    schema_version: int
    config_sources: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRecord:
    """One module of the tree, by its dotted prefix.

    Attributes:
        type: qualified name of its class, to be read by people; never imported.
        version: torch's per-module ``_version``, which steers upgrades of old state; None when it has none.
        extra: fields of a newer revision.
    """

    type: str
    version: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """One stored tensor.

    Attributes:
        name: key in the state dict.
        dtype: the format's name, as in ``F32``.
        shape: lengths in elements.
        kind: ``parameter``, ``buffer``, ``extra_state``, or ``storage`` for bytes that only aliases show.
        sha256: digest of its bytes, hex.
        stride: elements to step per dimension where the tensor was dense but not row-major; else None.
        module_type: class name of the module that owns it, where known.
        module_version: torch's ``_version`` of that module.
        extra: fields of a newer revision.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: TensorKind
    sha256: str
    stride: tuple[int, ...] | None = None
    module_type: str | None = None
    module_version: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRecord:
    """A state dict key that shares memory with a stored tensor.

    Attributes:
        name: key in the state dict.
        canonical: the stored tensor whose bytes it shows.
        kind: ``parameter`` or ``buffer``.
        view: None when it is the very same tensor; else which part of the bytes it shows.
        extra: fields of a newer revision.
    """

    name: str
    canonical: str
    kind: TensorKind
    view: ViewRecord | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRecord:
    """A part of another tensor's bytes.

    Attributes:
        dtype: the format's name.
        shape: lengths in elements.
        stride: elements to step per dimension.
        offset_bytes: first byte, from the start of the canonical tensor; a multiple of the element size.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """One member, without the manifest itself.

    Attributes:
        size_bytes: bytes of data.
        sha256: digest of all its bytes, hex; None for the weights: their tensors carry one digest each, and the
            manifest determines their header.
        extra: fields of a newer revision.
    """

    size_bytes: int
    sha256: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)
