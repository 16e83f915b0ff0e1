"""Writing an archive: temporary file beside the target, one pass over the tensors, fsync, rename.

Whoever looks at the target sees the old file or the new one, whenever the process dies. The bytes depend on the content
alone: two saves of one policy are equal (leave ``created`` out).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mpt_format import format as layout
from mpt_format.collection import paused_collection
from mpt_format.content import ArchiveContent, check_content
from mpt_format.digesting import DigestThread, crc32_of
from mpt_format.dtypes import find_size_bytes
from mpt_format.errors import ArchiveProblem, ManifestError, UnstorableStateError
from mpt_format.manifest import Manifest, parse_manifest
from mpt_format.payload import PIECE_BYTES, TensorPayload
from mpt_format.records import ArchitectureRecord, MemberRecord, TensorRecord
from mpt_format.replacing import replacing_file
from mpt_format.strict_json import format_json
from mpt_format.strict_yaml import format_yaml, parse_yaml
from mpt_format.tensor_header import BufferLayout
from mpt_format.zip_writer import ZipWriter

if TYPE_CHECKING:
    import torch

_SMALL_BYTES = 1 << 16  # below, handing a piece to another thread costs more than hashing it
_HEADERS_BYTES = 1024  # more than both headers of a member and its share of the end records
_NO_DIGEST = "0" * 64  # as wide as a real one: the manifest's size is known before the tensors are hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenArchive:
    """What was written.

    Attributes:
        path: the file.
        size_bytes: its size.
        content_digest: digest (hex) of the content, the same whenever it was saved.
        manifest: as written.
    """

    path: Path
    size_bytes: int
    content_digest: str
    manifest: Manifest

    @property
    def sha256(self) -> str:
        """Digest (hex) of the whole file; reads it back, so it costs a pass over the file each time."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def write_archive(path: str | os.PathLike[str], content: ArchiveContent) -> WrittenArchive:
    """Write an archive; an existing file is replaced as a whole or not at all.

    Raises:
        UnstorableStateError: something in the content cannot be stored; with every problem found.
        MalformedDocumentError: the architecture is not strict YAML.
        ArchiveWriteError: the file system refused.
    """
    check_content(content)
    with paused_collection():
        plan = _plan(content)
    target = Path(path)
    with replacing_file(target, expected_bytes=plan.expected_bytes) as fd:
        manifest, size = _write_members(fd, plan)
    return WrittenArchive(path=target, size_bytes=size, content_digest=manifest.content_digest, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TensorMember:
    """A safetensors member: its header and its payloads in buffer order."""

    header: bytes
    payloads: Mapping[str, TensorPayload]
    size_bytes: int

    @classmethod
    def of(cls, payloads: Mapping[str, TensorPayload]) -> _TensorMember:
        laid = BufferLayout((name, payload.dtype, payload.shape) for name, payload in payloads.items())
        return cls(
            header=laid.header, payloads={name: payloads[name] for name in laid.starts}, size_bytes=laid.size_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The members in order, and the manifest with blank digests for what is hashed while it is written."""

    manifest: Manifest
    text: bytes
    members: Mapping[str, bytes | _TensorMember]

    @property
    def expected_bytes(self) -> int:
        """A little more than the archive will have."""
        sizes = (len(member) if isinstance(member, bytes) else member.size_bytes for member in self.members.values())
        return len(self.text) + sum(sizes) + (len(self.members) + 1) * (layout.ALIGNMENT_BYTES + _HEADERS_BYTES)


def _plan(content: ArchiveContent) -> _Plan:
    members: dict[str, bytes | _TensorMember] = {}
    architecture: ArchitectureRecord | None = None
    if content.architecture is not None:
        text, architecture = _architecture(content)
        members[layout.ARCHITECTURE] = text
    if content.game_rules is not None:
        members[layout.GAME_RULES] = format_json(dict(content.game_rules))
    if content.state.extra_state:
        members[layout.EXTRA_STATE] = format_json(dict(content.state.extra_state))
    if content.training_document is not None:
        members[layout.TRAINING] = format_json(dict(content.training_document))
    for name, text_member in ((layout.README, content.readme), (layout.PYLOCK, content.pylock)):
        if text_member is not None:
            members[name] = text_member.encode("utf-8")
    if content.source_diff is not None:
        members[layout.SOURCE_DIFF] = content.source_diff
    if content.witness is not None:
        members[layout.WITNESS] = _TensorMember.of(_payloads(content.witness))
    for name, document in content.trainer_documents.items():
        members[f"trainer/{name}.json"] = format_json(document)
    for name, tensors in content.trainer_tensors.items():
        members[f"trainer/{name}.safetensors"] = _TensorMember.of(_payloads(tensors))
    if content.state.tensors:
        members[layout.WEIGHTS] = _TensorMember.of(
            {name: tensor.payload for name, tensor in content.state.tensors.items()}
        )
    members = dict(sorted(members.items(), key=lambda item: layout.member_rank(item[0])))
    manifest = Manifest(
        created=content.created,
        code=content.code,
        requires=content.requires,
        environment=content.environment,
        architecture=architecture,
        migration=content.migration,
        modules=content.state.modules,
        tensors={
            name: TensorRecord(
                name=name,
                dtype=tensor.payload.dtype,
                shape=tensor.payload.shape,
                kind=tensor.kind,
                sha256=_NO_DIGEST,
                stride=tensor.stride,
            )
            for name, tensor in content.state.tensors.items()
        },
        aliases=content.state.aliases,
        members={name: _record(name, member) for name, member in members.items()},
        witness=content.witness_spec,
        training=content.training,
        lineage=content.lineage,
    )
    try:
        text = manifest.to_json()
        parse_manifest(text)  # what we write, we can read
    except ManifestError as error:
        raise UnstorableStateError(error.problems) from None
    _check_sizes(members, manifest)
    return _Plan(manifest=manifest, text=text, members=members)


def _architecture(content: ArchiveContent) -> tuple[bytes, ArchitectureRecord]:
    if isinstance(content.architecture, str):
        text = content.architecture
    else:
        text = format_yaml(dict(content.architecture or {}))
    document = parse_yaml(text.encode("utf-8"), subject=layout.ARCHITECTURE)
    kind = document.get("kind") if isinstance(document, dict) else None
    schema_version = document.get("schema_version") if isinstance(document, dict) else None
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(kind, str) or type(schema_version) is not int or not isinstance(config, dict):
        message = "is not a mapping with kind (text), schema_version (integer) and config (mapping)"
        raise UnstorableStateError([ArchiveProblem(where=layout.ARCHITECTURE, message=message)])
    record = ArchitectureRecord(kind=kind, schema_version=schema_version, config_sources=content.config_sources)
    return text.encode("utf-8"), record


def _payloads(tensors: Mapping[str, TensorPayload | torch.Tensor]) -> dict[str, TensorPayload]:
    return {name: _as_payload(name, tensor) for name, tensor in tensors.items()}


def _as_payload(name: str, value: TensorPayload | torch.Tensor) -> TensorPayload:
    """Return the value itself, or a payload around a torch tensor.

    Raises:
        UnstorableStateError: the tensor is sparse, quantized, on `meta`, or of a dtype that the format lacks.
    """
    if hasattr(value, "pieces"):
        return cast("TensorPayload", value)
    from mpt_format.torch_payload import TorchPayload

    return TorchPayload.of(name, value)


def _record(name: str, member: bytes | _TensorMember) -> MemberRecord:
    if isinstance(member, bytes):
        return MemberRecord(size_bytes=len(member), sha256=hashlib.sha256(member).hexdigest())
    if name == layout.WEIGHTS:
        return MemberRecord(size_bytes=member.size_bytes)
    return MemberRecord(size_bytes=member.size_bytes, sha256=_NO_DIGEST)


def _check_sizes(members: Mapping[str, bytes | _TensorMember], manifest: Manifest) -> None:
    problems = [
        ArchiveProblem(where=name, message=f"has {len(member)} bytes, at most {layout.MAX_DOCUMENT_BYTES} are allowed")
        for name, member in members.items()
        if isinstance(member, bytes) and len(member) > layout.MAX_DOCUMENT_BYTES
    ]
    if len(members) + 1 > layout.MAX_MEMBERS:
        message = f"would have {len(members) + 1} members, at most {layout.MAX_MEMBERS} are allowed"
        problems.append(ArchiveProblem(where="archive", message=message))
    diff = manifest.code.diff_member if manifest.code else None
    if diff is not None and diff not in members:
        problems.append(ArchiveProblem(where="code.diff_member", message=f"names {diff!r}, which is not given"))
    if problems:
        raise UnstorableStateError(problems)


def _write_members(fd: int, plan: _Plan) -> tuple[Manifest, int]:
    writer = ZipWriter(fd)
    writer.begin_member(layout.MANIFEST, len(plan.text))
    writer.write(plan.text)
    writer.end_member(0)
    digests = DigestThread()
    try:
        for name, member in plan.members.items():
            if isinstance(member, bytes):
                writer.begin_member(name, len(member))
                writer.write(member)
                writer.end_member(crc32_of(member))
            else:
                _write_tensors(writer, digests, name, member)
    finally:
        found = digests.finish()
    with paused_collection():
        manifest = _fill_in(plan.manifest, found)
        text = manifest.to_json()
    writer.replace_data(0, text, crc32_of(text))
    return manifest, writer.finish()


def _write_tensors(writer: ZipWriter, digests: DigestThread, name: str, member: _TensorMember) -> None:
    """Write one tensor member; the weights get a digest per tensor, other members one digest.

    Raises:
        UnstorableStateError: a payload yields another number of bytes than its dtype and shape ask for.
    """
    is_weights = name == layout.WEIGHTS
    writer.begin_member(name, member.size_bytes)
    stream = _MemberStream(writer)
    stream.write(memoryview(member.header))
    if not is_weights:
        digests.add_piece(memoryview(member.header))
    for tensor_name, payload in member.payloads.items():
        expected = find_size_bytes(payload.dtype, payload.shape) or 0
        is_small = is_weights and expected <= _SMALL_BYTES
        small = hashlib.sha256() if is_small else None
        written = 0
        for piece in payload.pieces():
            written += len(piece)
            if small is not None:
                small.update(piece)
            else:
                digests.add_piece(piece)
            stream.write(piece)
        if written != expected:
            message = f"yields {written} bytes, {payload.dtype} of shape {list(payload.shape)} has {expected}"
            raise UnstorableStateError([ArchiveProblem(where=tensor_name, message=message)])
        if small is not None:
            digests.put(f"tensor:{tensor_name}", small.hexdigest())
        elif is_weights:
            digests.end_section(f"tensor:{tensor_name}")
    if not is_weights:
        digests.end_section(f"member:{name}")
    writer.end_member(stream.finish())


class _MemberStream:
    """Writes pieces, small ones gathered, and keeps the checksum."""

    def __init__(self, writer: ZipWriter) -> None:
        self._writer = writer
        self._gathered = bytearray()
        self._checksum = 0

    def write(self, piece: memoryview) -> None:
        if len(piece) <= _SMALL_BYTES:
            self._gathered += piece
            if len(self._gathered) >= PIECE_BYTES:
                self._flush()
            return
        self._flush()
        self._checksum = crc32_of(piece, self._checksum)
        self._writer.write_large(piece)

    def finish(self) -> int:
        """Write what is left and return the checksum."""
        self._flush()
        return self._checksum

    def _flush(self) -> None:
        if self._gathered:
            data = bytes(self._gathered)
            self._checksum = crc32_of(data, self._checksum)
            self._writer.write_large(memoryview(data))
            self._gathered = bytearray()


def _fill_in(manifest: Manifest, digests: Mapping[str, str]) -> Manifest:
    return replace(
        manifest,
        tensors={name: replace(record, sha256=digests[f"tensor:{name}"]) for name, record in manifest.tensors.items()},
        members={
            name: replace(record, sha256=digests[f"member:{name}"]) if f"member:{name}" in digests else record
            for name, record in manifest.members.items()
        },
    )
