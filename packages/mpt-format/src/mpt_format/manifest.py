"""The manifest: everything an archive says about itself, parsed without importing a validator or torch.

Every problem is collected before anything is raised. Unknown fields are an error at this reader's own revision and are
kept at a newer one. A newer format is refused as unsupported, never as corrupt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpt_format._fields import Fields, is_digest, is_narrow
from mpt_format.dtypes import BITS, find_size_bytes
from mpt_format.errors import ArchiveProblem, ManifestError, UnsupportedVersionError
from mpt_format.format import (
    FORMAT,
    MANIFEST,
    MAX_DIMENSIONS,
    MAX_MANIFEST_BYTES,
    MAX_NAME_CHARACTERS,
    MIN_READER,
    REVISION,
    WEIGHTS,
)
from mpt_format.records import (
    AliasRecord,
    ArchitectureRecord,
    CodeRecord,
    MemberRecord,
    ModuleRecord,
    TensorRecord,
    ViewRecord,
)
from mpt_format.strict_json import Json, format_json, parse_json

_TENSOR_KINDS = ("parameter", "buffer", "extra_state", "storage")
_SOURCES = ("author", "default")
_PLAIN_TENSOR = {"dtype", "shape", "kind", "sha256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """manifest.json as a value.

    Attributes:
        format: the format the archive was written in.
        revision: additions within the format.
        min_reader: the lowest format that a reader must implement.
        created: ISO 8601 time in UTC, or None where it was left out.
        code: the model code, or None (weights of unknown origin).
        requires: what must hold to run it: contract range, python range, the wheel's own requirements.
        environment: versions at the time of saving: python, platform, torch, ...
        architecture: kind and schema version, or None (weights only).
        migration: ``head``: the last migration revision(s) that the weights already follow.
        modules: dotted prefix -> module, in the order of the module tree.
        tensors: stored tensors in state dict order.
        aliases: keys that share memory with a stored tensor.
        members: the other members by name, in archive order.
        witness: how the witness was drawn: seed, tolerance, steps, batch, outputs; None without one.
        training: a short account of the training run.
        lineage: parent digest and applied revisions.
        extra: fields of a newer revision.
    """

    format: int = FORMAT
    revision: int = REVISION
    min_reader: int = MIN_READER
    created: str | None = None
    code: CodeRecord | None = None
    requires: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    architecture: ArchitectureRecord | None = None
    migration: Mapping[str, Json] = field(default_factory=dict)
    modules: Mapping[str, ModuleRecord] = field(default_factory=dict)
    tensors: Mapping[str, TensorRecord] = field(default_factory=dict)
    aliases: Mapping[str, AliasRecord] = field(default_factory=dict)
    members: Mapping[str, MemberRecord] = field(default_factory=dict)
    witness: Mapping[str, Json] | None = None
    training: Mapping[str, Json] | None = None
    lineage: Mapping[str, Json] | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_document(self) -> dict[str, Json]:
        """Return plain data in the format's field order."""
        return _document(self)

    def to_json(self) -> bytes:
        """Return the canonical text, as it stands in an archive."""
        return format_json(_document(self))

    @property
    def content_digest(self) -> str:
        """Digest (hex) of the canonical text without ``created``: equal digests, equal content."""
        return hashlib.sha256(format_json(_document(replace(self, created=None)))).hexdigest()


def parse_manifest(data: bytes, *, path: str | None = None) -> Manifest:
    """Parse manifest.json.

    Args:
        data: its bytes.
        path: the archive's path, for errors.

    Raises:
        MalformedDocumentError: not strict JSON.
        UnsupportedVersionError: a newer reader is needed.
        ManifestError: fields are missing or wrong; with every problem found.
    """
    document = parse_json(data, subject=MANIFEST, max_bytes=MAX_MANIFEST_BYTES, is_table=True)
    problems: list[ArchiveProblem] = []
    top = Fields(document, f"{MANIFEST}: ", problems)
    format_number = top.integer("format", minimum=1)
    min_reader = top.integer("min_reader", minimum=1)
    if min_reader > FORMAT:
        raise UnsupportedVersionError(path, min_reader, FORMAT)
    revision = top.integer("revision", minimum=0)
    top.keeps_unknown = format_number > FORMAT or revision > REVISION
    if min_reader > format_number:
        top.problem("min_reader", f"is {min_reader}, above format {format_number}")
    modules = top.named_table("modules", lambda _, entry: _module(entry), _find_plain_module)
    manifest = Manifest(
        format=format_number,
        revision=revision,
        min_reader=min_reader,
        created=top.optional_text("created"),
        code=top.optional_record("code", _code),
        requires=top.mapping("requires"),
        environment=top.texts("environment"),
        architecture=top.optional_record("architecture", _architecture),
        migration=top.mapping("migration"),
        modules=modules,
        tensors=_tensors(top, modules),
        aliases=top.named_table("aliases", _alias),
        members=top.named_table("members", _member),
        witness=top.optional_mapping("witness"),
        training=top.optional_mapping("training"),
        lineage=top.optional_mapping("lineage"),
        extra=top.rest(),
    )
    _check_aliases(manifest, problems)
    if problems:
        raise ManifestError(path, problems)
    return manifest


def _tensors(top: Fields, modules: Mapping[str, ModuleRecord]) -> dict[str, TensorRecord]:
    def parse(name: str, entry: Fields) -> TensorRecord:
        owner = modules.get(name.rpartition(".")[0])
        return TensorRecord(
            name=name,
            dtype=entry.choice("dtype", BITS),
            shape=entry.counts("shape"),
            kind=entry.choice("kind", _TENSOR_KINDS),  # type: ignore[arg-type]
            sha256=entry.digest("sha256"),
            stride=entry.optional_counts("stride"),
            module_type=owner.type if owner else None,
            module_version=owner.version if owner else None,
            extra=entry.rest(),
        )

    def find_plain(name: str, entry: Json) -> TensorRecord | None:
        if type(entry) is not dict or entry.keys() != _PLAIN_TENSOR:
            return None
        dtype, shape, kind, sha256 = entry["dtype"], entry["shape"], entry["kind"], entry["sha256"]
        if not (
            type(dtype) is type(kind) is type(sha256) is str
            and dtype in BITS
            and kind in _TENSOR_KINDS
            and type(shape) is list
            and len(shape) <= MAX_DIMENSIONS
            and is_digest(sha256)
        ):
            return None
        for length in shape:
            if type(length) is not int or not 0 <= length < 1 << 63:
                return None
        owner = modules.get(name.rpartition(".")[0])
        return TensorRecord(
            name=name,
            dtype=dtype,
            shape=tuple(shape),  # type: ignore[arg-type]
            kind=kind,  # type: ignore[arg-type]
            sha256=sha256,
            module_type=owner.type if owner else None,
            module_version=owner.version if owner else None,
        )

    return top.named_table("tensors", parse, find_plain)


def _code(entry: Fields) -> CodeRecord:
    return CodeRecord(
        distribution=entry.text("distribution"),
        version=entry.text("version"),
        wheel_sha256=entry.optional_digest("wheel_sha256"),
        unit_sha256=entry.optional_digest("unit_sha256"),
        package=entry.optional_text("package"),
        package_sha256=entry.optional_digest("package_sha256"),
        repository=entry.optional_text("repository"),
        commit=entry.optional_text("commit"),
        branch=entry.optional_text("branch"),
        dirty=entry.optional_flag("dirty"),
        diff_member=entry.optional_text("diff_member"),
        extra=entry.rest(),
    )


def _architecture(entry: Fields) -> ArchitectureRecord:
    sources = entry.texts("config_sources")
    for name, value in sources.items():
        if value not in _SOURCES:
            entry.problem(f"config_sources[{name!r:.80}]", f"is {value!r:.40}, expected one of {', '.join(_SOURCES)}")
    return ArchitectureRecord(
        kind=entry.text("kind"),
        schema_version=entry.integer("schema_version", minimum=0),
        config_sources=sources,
        extra=entry.rest(),
    )


def _module(entry: Fields) -> ModuleRecord:
    return ModuleRecord(type=entry.text("type"), version=entry.optional_integer("version"), extra=entry.rest())


def _find_plain_module(name: str, entry: Json) -> ModuleRecord | None:
    if type(entry) is dict and len(entry) == 2:
        kind, version = entry.get("type"), entry.get("version")
        if type(kind) is str and kind.isprintable() and kind and type(version) is int and is_narrow(version):
            return ModuleRecord(type=kind, version=version)
    return None


def _member(name: str, entry: Fields) -> MemberRecord:
    return MemberRecord(
        size_bytes=entry.integer("size_bytes", minimum=0),
        sha256=None if name == WEIGHTS else entry.digest("sha256"),
        extra=entry.rest(),
    )


def _alias(name: str, entry: Fields) -> AliasRecord:
    return AliasRecord(
        name=name,
        canonical=entry.text("canonical"),
        kind=entry.choice("kind", _TENSOR_KINDS),  # type: ignore[arg-type]
        view=entry.optional_record("view", _view),
        extra=entry.rest(),
    )


def _view(entry: Fields) -> ViewRecord:
    record = ViewRecord(
        dtype=entry.choice("dtype", BITS),
        shape=entry.counts("shape"),
        stride=entry.counts("stride"),
        offset_bytes=entry.integer("offset_bytes", minimum=0),
    )
    entry.rest()
    return record


def _check_aliases(manifest: Manifest, problems: list[ArchiveProblem]) -> None:
    """Prove that no alias shows bytes outside its canonical tensor."""
    for name, record in manifest.tensors.items():
        if record.stride is not None and not is_dense(record.shape, record.stride):
            where = f"{MANIFEST}: tensors[{name!r:.80}].stride"
            problems.append(ArchiveProblem(where=where, message="is not a reordering of a dense tensor"))
    for name, alias in manifest.aliases.items():
        where = f"{MANIFEST}: aliases[{name!r:.80}]"
        target = manifest.tensors.get(alias.canonical)
        if name in manifest.tensors:
            problems.append(ArchiveProblem(where=where, message="is a stored tensor as well"))
        if target is None:
            problems.append(
                ArchiveProblem(where=where, message=f"points at {alias.canonical!r:.80}, which is not stored")
            )
        elif alias.view is not None and target.dtype in BITS:
            reason = _view_problem(alias.view, target)
            if reason:
                problems.append(ArchiveProblem(where=where, message=reason))


def _view_problem(view: ViewRecord, target: TensorRecord) -> str | None:
    bits = BITS.get(view.dtype, 0)
    size = find_size_bytes(target.dtype, target.shape)
    if len(view.stride) != len(view.shape):
        return "has a stride of another rank than its shape"
    if bits < 8 or bits % 8 or view.offset_bytes % (bits // 8):
        return f"has a dtype or offset that cannot be viewed: {view.dtype} at byte {view.offset_bytes}"
    if size is None:
        return "points at a tensor of no valid size"
    if target.stride is not None:
        return "shows part of a tensor that is laid out anew when it is read"
    if 0 in view.shape:
        return None
    last = sum((length - 1) * step for length, step in zip(view.shape, view.stride, strict=True))
    if view.offset_bytes + (last + 1) * (bits // 8) > size:
        return f"reaches beyond the {size} bytes of {target.name!r:.80}"
    return None


def is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Tell whether the strides visit every element of a block without gaps exactly once, in some order."""
    if len(shape) != len(stride):
        return False
    expected = 1
    for step, length in sorted((step, length) for step, length in zip(stride, shape, strict=True) if length != 1):
        if step != expected:
            return False
        expected *= length
    return True


def _document(manifest: Manifest) -> dict[str, Json]:
    m = manifest
    document: dict[str, Json] = {"format": m.format, "revision": m.revision, "min_reader": m.min_reader}
    document["created"] = m.created
    document["code"] = None if m.code is None else _plain(m.code)
    document["requires"] = dict(m.requires)
    document["environment"] = dict(m.environment)
    document["architecture"] = None if m.architecture is None else _plain(m.architecture)
    document["migration"] = dict(m.migration)
    document["witness"] = None if m.witness is None else dict(m.witness)
    document["training"] = None if m.training is None else dict(m.training)
    document["lineage"] = None if m.lineage is None else dict(m.lineage)
    document["members"] = {name: _plain(record) for name, record in m.members.items()}
    document["modules"] = {name: _plain(record) for name, record in m.modules.items()}
    document["tensors"] = {name: _plain_tensor(record) for name, record in m.tensors.items()}
    document["aliases"] = {name: _plain(record) for name, record in m.aliases.items()}
    document.update(m.extra)
    return document


def _plain_tensor(record: TensorRecord) -> dict[str, Json]:
    """Return what `_plain` would, without looking at fields one by one: there may be a hundred thousand."""
    result: dict[str, Json] = {
        "dtype": record.dtype,
        "shape": list(record.shape),
        "kind": record.kind,
        "sha256": record.sha256,
    }
    if record.stride is not None:
        result["stride"] = list(record.stride)
    if record.extra:
        result.update(record.extra)
    return result


_DERIVED = frozenset({"name", "module_type", "module_version"})  # the key, or a fact of `modules`


def _plain(record: object) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for name in record.__dataclass_fields__:  # type: ignore[attr-defined]
        value = getattr(record, name)
        if name == "extra" or value is None or (name in _DERIVED and not isinstance(record, CodeRecord)):
            continue
        if isinstance(value, ViewRecord):
            value = _plain(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        result[name] = value
    result.update(getattr(record, "extra", {}))
    return result


def check_names(names: Mapping[str, object]) -> list[ArchiveProblem]:
    """Return the names that an archive does not carry: control characters, absurd lengths."""
    return [
        ArchiveProblem(where=repr(name)[:80], message="is not a name: control characters or too long")
        for name in names
        if not is_name(name)
    ]


def is_name(name: str) -> bool:
    """Tell whether a tensor or module may be called so."""
    return len(name) <= MAX_NAME_CHARACTERS and (name.isprintable() or not _has_control(name))


def _has_control(name: str) -> bool:
    return any(
        character < " " or "\x7f" <= character < "\xa0" or "\ud800" <= character < "\ue000" for character in name
    )
