"""An opened archive: what it says about itself, its members, and its tensors as views into the file.

Opening reads the container's directory and the manifest and nothing else, whatever the size of the weights. A member's
bytes are compared with the manifest's digest before they are parsed. Executes nothing, imports nothing that a file
names.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from mpt_format import format as layout
from mpt_format.byte_source import ByteSource
from mpt_format.collection import paused_collection
from mpt_format.dtypes import find_size_bytes
from mpt_format.errors import (
    ArchiveError,
    ArchiveProblem,
    CorruptArchiveError,
    ManifestError,
    TensorMismatchError,
    UnsafeArchiveError,
)
from mpt_format.extras import check_torch
from mpt_format.manifest import Manifest, parse_manifest
from mpt_format.records import AliasRecord, MemberRecord, TensorRecord
from mpt_format.strict_json import Json, parse_json
from mpt_format.tensor_header import LENGTH, BufferLayout, TensorSlot, parse_header_length, parse_tensor_header
from mpt_format.zip_layout import ZipMember, read_zip_layout

if TYPE_CHECKING:
    from typing import Self

    import torch

VerifyLevel = Literal["structure", "quick", "full"]


class Archive:
    """One opened archive.

    Attributes:
        path: as given to `open_archive`.
        size_bytes: size of the file.
        manifest: what the archive says about itself.
        members: the members by name, in file order: where they lie.
    """

    def __init__(self, source: ByteSource) -> None:
        """Take over a source and read the directory and the manifest; the source is closed when that fails."""
        self._source = source
        self.path = source.name
        self.size_bytes = source.size_bytes
        try:
            with paused_collection():
                self.members: Mapping[str, ZipMember] = _read_layout(source)
                self.manifest: Manifest = self._read_manifest()
        except ArchiveError as error:
            source.close()
            if error.path is None:
                raise type(error)(self.path, error.problems) from None
            raise
        except BaseException:
            source.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Archive {self.path!r}: {len(self.manifest.tensors)} tensors, {self.size_bytes} bytes>"

    def close(self) -> None:
        """Release the file; tensors that were read stay valid."""
        self._source.close()

    def has_member(self, name: str) -> bool:
        """Tell whether the archive carries an optional member."""
        return name in self.members

    def read_member(self, name: str) -> bytes:
        """Return a member's bytes, compared with the manifest's digest. For small members; weights have `read_tensors`.

        Raises:
            KeyError: no such member.
            CorruptArchiveError: the bytes differ from the manifest's digest.
            UnsafeArchiveError: larger than a member of this kind may be.
        """
        member = self.members[name]
        if name == layout.MANIFEST:
            return self._source.read_at(member.offset, member.size_bytes)
        if not name.endswith(".safetensors") and member.size_bytes > layout.MAX_DOCUMENT_BYTES:
            raise UnsafeArchiveError(self.path, [ArchiveProblem(where=name, message=f"has {member.size_bytes} bytes")])
        data = self._source.read_at(member.offset, member.size_bytes)
        expected = self.manifest.members[name].sha256
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise self._corrupt(name, "differs from the digest in the manifest")
        return data

    def read_json(self, name: str) -> Json:
        """Return a JSON member as a value.

        Raises:
            KeyError: no such member.
            MalformedDocumentError: not strict JSON.
            CorruptArchiveError: the bytes differ from the manifest's digest.
        """
        value: Json = self._located(parse_json, self.read_member(name), subject=name)
        return value

    @cached_property
    def architecture_text(self) -> str:
        """The exact text of policy_architecture.yaml.

        Raises:
            ManifestError: the archive holds weights only.
        """
        return self._architecture_bytes().decode("utf-8", errors="replace")

    @cached_property
    def architecture(self) -> dict[str, Any]:
        """The architecture document: ``kind``, ``schema_version``, ``config``.

        Raises:
            ManifestError: the archive holds weights only, or the document lacks a field or contradicts the manifest.
            MalformedDocumentError: not strict YAML.
        """
        from mpt_format.strict_yaml import parse_yaml

        document = self._located(parse_yaml, self._architecture_bytes(), subject=layout.ARCHITECTURE)
        problems: list[ArchiveProblem] = []
        if not isinstance(document, dict):
            problems.append(ArchiveProblem(where=layout.ARCHITECTURE, message="is not a mapping"))
            document = {}
        record = self.manifest.architecture
        for name in ("kind", "schema_version"):
            expected = getattr(record, name, None)
            if document.get(name) != expected or type(document.get(name)) is not type(expected):
                message = f"is {document.get(name)!r:.60}, the manifest says {expected!r:.60}"
                problems.append(ArchiveProblem(where=f"{layout.ARCHITECTURE}: {name}", message=message))
        if not isinstance(document.get("config"), dict):
            problems.append(ArchiveProblem(where=f"{layout.ARCHITECTURE}: config", message="is not a mapping"))
        if problems:
            raise ManifestError(self.path, problems)
        return document

    @cached_property
    def game_rules(self) -> dict[str, Any] | None:
        """The document of game_rules.json, or None."""
        return self._find_object(layout.GAME_RULES)

    @cached_property
    def training(self) -> dict[str, Any] | None:
        """The document of training.json, or None."""
        return self._find_object(layout.TRAINING)

    @cached_property
    def extra_state(self) -> dict[str, Any]:
        """State dict key -> JSON, of the modules that have extra state."""
        return self._find_object(layout.EXTRA_STATE) or {}

    @property
    def tensors(self) -> Mapping[str, TensorRecord]:
        """The stored tensors by name, in state dict order."""
        return self.manifest.tensors

    @property
    def aliases(self) -> Mapping[str, AliasRecord]:
        """The state dict keys that share memory with a stored tensor."""
        return self.manifest.aliases

    @cached_property
    def weights_layout(self) -> tuple[int, Mapping[str, int]]:
        """Where the tensor buffer begins in the file, and where each stored tensor begins in it, in buffer order.

        The manifest determines the header of the weights to the byte; this compares the two.

        Raises:
            CorruptArchiveError, MalformedDocumentError: the header is damaged or contradicts the manifest.
        """
        member = self.members.get(layout.WEIGHTS)
        if member is None:
            return 0, {}
        records = self.manifest.tensors.values()
        expected = self._located(BufferLayout, ((record.name, record.dtype, record.shape) for record in records))
        size = len(expected.header)
        if member.size_bytes == expected.size_bytes:
            header = self._source.read_at(member.offset, size)
            if header == expected.header:
                return member.offset + size, expected.starts
        raise CorruptArchiveError(self.path, self._header_problems(member))

    def _header_problems(self, member: ZipMember) -> list[ArchiveProblem]:
        """Say how the header of the weights differs from what the manifest asks for.

        Raises:
            MalformedDocumentError: it is not even a tensor header.
        """
        slots = self._read_slots(layout.WEIGHTS, member)
        return [
            ArchiveProblem(where=f"{layout.WEIGHTS}: {name!r:.120}", message=message)
            for name, message in _differences(self.manifest.tensors, slots)
        ] or [ArchiveProblem(where=f"{layout.WEIGHTS} header", message="is not the text that the manifest determines")]

    def _read_slots(self, name: str, member: ZipMember) -> dict[str, TensorSlot]:
        prefix = self._source.read_at(member.offset, min(LENGTH.size, member.size_bytes))
        length = self._located(parse_header_length, prefix, member_bytes=member.size_bytes, subject=name)
        text = self._source.read_at(member.offset + LENGTH.size, length)
        start = LENGTH.size + length
        slots: dict[str, TensorSlot] = self._located(
            parse_tensor_header, text, buffer_bytes=member.size_bytes - start, subject=name
        )
        return slots

    def read_tensor_bytes(self, name: str) -> bytes:
        """Return the bytes of one stored tensor, row-major and little-endian, without torch.

        Raises:
            KeyError: no such stored tensor.
            CorruptArchiveError: the bytes differ from the manifest's digest.
        """
        record = self.manifest.tensors[name]
        offset, starts = self.weights_layout
        size = find_size_bytes(record.dtype, record.shape)
        data = self._source.read_at(offset + starts[name], size or 0)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise self._corrupt(f"{layout.WEIGHTS}: {name!r:.120}", "differs from the digest in the manifest")
        return data

    def read_tensors(
        self, prefix: str = "", *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> dict[str, torch.Tensor]:
        """Return tensors as views into one private copy-on-write mapping of the file; nothing is read yet.

        Digests are not compared here (that reads everything): call ``verify("full")`` for that.

        Args:
            prefix: only keys that begin with it, as in ``"encoder."``.
            device: where to put them; anything but the CPU copies.
            dtype: what to convert floating point tensors to; integers and booleans keep theirs.

        Returns:
            State dict key -> tensor, aliases included: tied keys give one and the same tensor object, overlapping ones
            share storage.

        Raises:
            TensorMismatchError: no key begins with the prefix, or torch lacks a dtype.
            MissingExtraError: torch is not installed.
            CorruptArchiveError, MalformedDocumentError: the tensor header is damaged or contradicts the manifest.
        """
        check_torch(f"reading tensors of {self.path}")
        from mpt_format import torch_views

        offset, starts = self.weights_layout
        records, aliases = self.tensors, self.aliases
        if prefix:
            names = {name for name in (*records, *aliases) if name.startswith(prefix)}
            if not names:
                problem = ArchiveProblem(where=f"prefix {prefix!r:.80}", message="no key begins with it")
                raise TensorMismatchError(self.path, [problem])
            aliases = {name: alias for name, alias in aliases.items() if name in names}
            names.update(alias.canonical for alias in aliases.values())
            records = {name: record for name, record in records.items() if name in names}
        if not records:
            return {}
        with paused_collection():
            tensors = torch_views.view_tensors(
                self._source.map_private(),
                ((name, record.dtype, record.shape, offset + starts[name]) for name, record in records.items()),
                path=self.path,
            )
        torch_views.restore_layouts(tensors, records.values())
        torch_views.add_aliases(tensors, aliases.values())
        for name, record in records.items():
            if record.kind == "storage" or not name.startswith(prefix):
                del tensors[name]
        if str(device) == "cpu" and dtype is None:
            return tensors
        return torch_views.move_tensors(tensors, device=device, dtype=dtype)

    def read_state_dict(
        self, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> OrderedDict[str, Any]:
        """Return a state dict for ``module.load_state_dict(state, strict=True, assign=True)``.

        It carries module versions (``_metadata``) and extra state. Tied parameters are one `Parameter`, so that
        ``assign=True`` keeps them tied.

        Raises:
            As `read_tensors`, and MalformedDocumentError for the extra state.
        """
        check_torch(f"reading tensors of {self.path}")
        from mpt_format.state_dict import make_state_dict

        return make_state_dict(self.manifest, self.read_tensors(device=device, dtype=dtype), self.extra_state)

    def read_witness(self) -> dict[str, torch.Tensor] | None:
        """Return the witness tensors by name, or None when the archive has no witness."""
        return self.read_tensor_member(layout.WITNESS) if layout.WITNESS in self.members else None

    def read_tensor_member(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a safetensors member other than the weights, in memory of their own.

        Raises:
            KeyError: no such member.
            CorruptArchiveError: the bytes differ from the manifest's digest.
            MalformedDocumentError: not a tensor header.
            TensorMismatchError: torch lacks a dtype.
        """
        check_torch(f"reading tensors of {self.path}")
        from mpt_format import torch_views

        data = memoryview(bytearray(self.read_member(name)))
        length = self._located(parse_header_length, bytes(data[:8]), member_bytes=len(data), subject=name)
        start = LENGTH.size + length
        text = bytes(data[LENGTH.size : start])
        slots = self._located(parse_tensor_header, text, buffer_bytes=len(data) - start, subject=name)
        return torch_views.view_tensors(
            data, ((key, slot.dtype, slot.shape, start + slot.start) for key, slot in slots.items()), path=self.path
        )

    def map_tensor_member(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a safetensors member as views into the mapping of the file; nothing is read yet.

        The digest is not compared here (that reads everything): call ``verify("full")`` for that.

        Raises:
            KeyError: no such member.
            MalformedDocumentError: not a tensor header.
            TensorMismatchError: torch lacks a dtype.
        """
        check_torch(f"reading tensors of {self.path}")
        from mpt_format import torch_views

        member = self.members[name]
        slots = self._read_slots(name, member)
        start = member.offset + member.size_bytes - max((slot.stop for slot in slots.values()), default=0)
        return torch_views.view_tensors(
            self._source.map_private(),
            ((key, slot.dtype, slot.shape, start + slot.start) for key, slot in slots.items()),
            path=self.path,
        )

    def verify(
        self, level: VerifyLevel = "structure", *, on_bytes: Callable[[int], object] = lambda size_bytes: None
    ) -> None:
        """Check the archive.

        Args:
            level: ``structure`` (container, manifest: done by opening), ``quick`` (also every small member's digest and
                text, and the tensor headers) or ``full`` (also every tensor's digest and every checksum).
            on_bytes: is told of every piece that was compared, in bytes; for a progress bar.

        Raises:
            ArchiveError or ManifestError: with every problem found.
        """
        from mpt_format.verification import check_archive

        check_archive(self, level, on_bytes)

    def check_tensor_member_header(self, name: str) -> dict[str, TensorSlot]:
        """Return the slots of a safetensors member other than the weights, from its header alone.

        Raises:
            KeyError: no such member.
            MalformedDocumentError: not a tensor header.
        """
        return self._read_slots(name, self.members[name])

    def read_pieces(self, offset: int, size_bytes: int, piece_bytes: int) -> Iterator[bytes]:
        """Yield a range of the file in pieces.

        Raises:
            CorruptArchiveError: the file ends before.
        """
        end = offset + size_bytes
        while offset < end:
            piece = self._source.read_at(offset, min(piece_bytes, end - offset))
            yield piece
            offset += len(piece)

    def _read_manifest(self) -> Manifest:
        names = list(self.members)
        if not names or names[0] != layout.MANIFEST:
            raise UnsafeArchiveError(
                self.path, [ArchiveProblem(where=layout.MANIFEST, message="is not the first member")]
            )
        member = self.members[layout.MANIFEST]
        if member.size_bytes > layout.MAX_MANIFEST_BYTES:
            message = f"has {member.size_bytes} bytes, at most {layout.MAX_MANIFEST_BYTES} are allowed"
            raise UnsafeArchiveError(self.path, [ArchiveProblem(where=layout.MANIFEST, message=message)])
        manifest = parse_manifest(self._source.read_at(member.offset, member.size_bytes), path=self.path)
        problems = list(_member_problems(self.members, manifest))
        if problems:
            raise UnsafeArchiveError(self.path, problems)
        return manifest

    def _architecture_bytes(self) -> bytes:
        if layout.ARCHITECTURE not in self.members:
            message = "is not there: the archive holds weights only"
            raise ManifestError(self.path, [ArchiveProblem(where=layout.ARCHITECTURE, message=message)])
        return self.read_member(layout.ARCHITECTURE)

    def _find_object(self, name: str) -> dict[str, Any] | None:
        if name not in self.members:
            return None
        value = self.read_json(name)
        if not isinstance(value, dict):
            raise ManifestError(self.path, [ArchiveProblem(where=name, message="is not an object")])
        return value

    def _corrupt(self, where: str, message: str) -> CorruptArchiveError:
        return CorruptArchiveError(self.path, [ArchiveProblem(where=where, message=message)])

    def _located(self, parse: Any, *args: Any, **options: Any) -> Any:
        """Call a parser and put the archive's path into its error."""
        try:
            return parse(*args, **options)
        except ArchiveError as error:
            if error.path is None:
                raise type(error)(self.path, error.problems) from None
            raise


def _read_layout(source: ByteSource) -> Mapping[str, ZipMember]:
    """Read the container; a file of another kind is named instead of judged by the rules of this one."""
    try:
        return read_zip_layout(source)
    except (UnsafeArchiveError, CorruptArchiveError):
        from mpt_format.foreign import find_foreign

        foreign = find_foreign(source)
        if foreign is None:
            raise
        raise foreign from None


def _differences(records: Mapping[str, TensorRecord], slots: Mapping[str, TensorSlot]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, record in records.items():
        slot = slots.get(name)
        if slot is None:
            found.append((name, "is in the manifest and not in the header"))
        elif (slot.dtype, slot.shape) != (record.dtype, record.shape):
            found.append(
                (name, f"is {slot.dtype} {list(slot.shape)}, the manifest says {record.dtype} {list(record.shape)}")
            )
    found.extend((name, "is in the header and not in the manifest") for name in slots if name not in records)
    return found


def _member_problems(members: Mapping[str, ZipMember], manifest: Manifest) -> list[ArchiveProblem]:
    problems: list[ArchiveProblem] = []

    def problem(name: str, message: str) -> None:
        problems.append(ArchiveProblem(where=name, message=message))

    is_newer = manifest.format > layout.FORMAT or manifest.revision > layout.REVISION
    names = [name for name in members if name != layout.MANIFEST]
    for name in names:
        record: MemberRecord | None = manifest.members.get(name)
        if not layout.is_known_member(name) and not (is_newer and layout.FUTURE_MEMBER.fullmatch(name)):
            problem(name, "is not a member of this format")
        if record is None:
            problem(name, "is not in the manifest")
        elif record.size_bytes != members[name].size_bytes:
            problem(name, f"has {members[name].size_bytes} bytes, the manifest says {record.size_bytes}")
    for name in manifest.members:
        if name not in members:
            problem(name, "is in the manifest and not in the container")
    if names != sorted(names, key=layout.member_rank):
        problem("directory", f"lists the members out of order: {', '.join(names)}")
    if (manifest.architecture is None) != (layout.ARCHITECTURE not in members):
        problem(layout.ARCHITECTURE, "and the manifest's architecture go together")
    if (manifest.witness is None) != (layout.WITNESS not in members):
        problem(layout.WITNESS, "and the manifest's witness go together")
    if bool(manifest.tensors) != (layout.WEIGHTS in members):
        problem(layout.WEIGHTS, "and the manifest's tensors go together")
    diff = manifest.code.diff_member if manifest.code else None
    if diff is not None and diff not in members:
        problem(diff, "is named as the difference of the source and is not there")
    for name in names:
        if name.endswith(".safetensors") and members[name].offset % layout.ALIGNMENT_BYTES:
            problem(name, f"begins at {members[name].offset}, not at a multiple of {layout.ALIGNMENT_BYTES}")
    return problems
