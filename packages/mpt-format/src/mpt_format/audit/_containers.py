"""Which pickle streams a file holds and what kind of container it is, told by its bytes and never by its name.

Every candidate is found: the pickles of a torch zip, the five of a legacy file, those of a tar, the base64 ones in a
stable-baselines3 `data` member, object arrays of numpy files, archives inside archives. Reading stops at the limits;
nothing is unpacked to disk.

Source: `torch/serialization.py` (`_save`, `_legacy_save`, `legacy_load`), NumPy's NEP 1 (.npy), safetensors' format.
"""

from __future__ import annotations

__all__ = ["Candidate", "Container", "open_container"]

import base64
import binascii
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, cast

from ._limits import Limits
from ._machine import run_pickle
from ._nodes import Call, DictNode, Ext, Global, Node, Persistent, Unresolvable
from ._safetensors import read_safetensors_table
from ._sniff import find_foreign_format, is_tar_header, looks_like_pickle
from ._stream import BUILD, Buffer, Stream
from ._summary import Summary, summarize
from ._zip import STORED, ZipDirectory, ZipMember, read_zip_directory, unpack_member

if TYPE_CHECKING:
    from ._records import RecordProblem

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a file written by torch before 1.6 (`MAGIC_NUMBER`)."""
_LEGACY_PROTOCOL = 1001
_MAX_JSON_BYTES = 64 << 20
_MOST_CONTAINERS = 10_000
"""Dicts, lists and tuples of an object that are looked through for byte strings."""
_COPY_LIMIT = 64 << 20
"""A main pickle above this is read in place; a smaller one is copied, because indexing bytes is faster."""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One pickle stream: where it is and what it says."""

    name: str
    """Member names from the outside in, joined by `!`; empty for the file itself."""
    stream: Stream
    base: int = 0
    """Offset of the stream's data in the file, where the data is a plain slice of it; else 0."""
    root: bool = False
    """Whether this is the object that `torch.load` returns."""
    _summary: Summary | None = None

    def get_summary(self, storage_fields: int) -> Summary:
        """The log's counts and suspects; made once."""
        if self._summary is None:
            self._summary = summarize(self.stream, storage_fields)
        return self._summary


@dataclass(slots=True, kw_only=True)
class Container:
    """What a file is: its kind, its pickle streams, its tensors' whereabouts, and what is wrong with it."""

    kind: str
    description: str
    candidates: list[Candidate] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Why the file is malformed."""
    limits_hit: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_checkpoint: bool = False
    torch_refusal: str | None = None
    """Why `torch.load(weights_only=True)` refuses the container itself, whatever its pickles say."""
    without_pickle: bool = False
    """Whether the format has no pickle at all: safetensors and archives made of it."""
    directory: ZipDirectory | None = None
    prefix: str = ""
    """Folder of a torch zip that all records lie in, with its slash."""
    storages: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Storage key -> byte offset in the file and size, of records that lie there as they are."""
    byteorder: str = "little"
    tensors: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    """Name, dtype and shape of the tensors of a safetensors member."""
    storage_fields: int = 5
    record_problems: list[RecordProblem] = field(default_factory=list)
    """Records that do not fit the main pickle; found while findings are collected."""

    unpacked_size_bytes: int = 0
    """What compressed members unpacked to, all together."""
    turns: int = 0
    """At most so many opcodes were read in all streams together."""

    def read_stream(self, data: Buffer, start: int, limits: Limits, *, stop: int | None = None) -> Stream:
        """Read one stream and count it."""
        stream = run_pickle(data, start, limits, stop=stop)
        self.turns += min(stream.end - start, limits.opcodes)
        return stream

    def may_read_on(self, limits: Limits) -> bool:
        """Whether the bounds for all streams of a file together leave room for one more; else they are named."""
        for text, used, bound in (
            ("opcodes in all", self.turns, limits.all_opcodes),
            ("unpacked bytes in all", self.unpacked_size_bytes, limits.all_unpacked_bytes),
            ("streams", len(self.candidates), limits.streams),
        ):
            if used >= bound:
                reached = f"{text}: stopped after {bound}"
                if reached not in self.limits_hit:
                    self.limits_hit.append(reached)
                return False
        return True

    def add_unannounced(self, label: str, stream: Stream) -> None:
        """Keep the stream of a member that nothing announces as a pickle, when it is one that imports."""
        if _imports(stream):
            self.candidates.append(Candidate(name=label, stream=stream))

    def get_root(self) -> Candidate | None:
        """The stream that holds the object `torch.load` returns, where there is one."""
        for candidate in self.candidates:
            if candidate.root:
                return candidate
        return None


def _imports(stream: Stream) -> bool:
    """Whether a stream imports what can be imported and ends, or uses it: text that begins like a pickle does not."""
    if stream.tensors:
        return True
    importable: set[int] = set()
    for event in stream.log:
        kind, used = type(event), False
        if kind is Global:
            if _is_importable(event):
                importable.add(id(event))
        elif isinstance(event, Call):
            used = type(event.func) is not Global or id(event.func) in importable
        elif kind is tuple and event[1] == BUILD:
            used = id(event[2][0]) in importable
        elif kind is Ext or kind is Unresolvable:
            used = True
        if used:
            return True
    return stream.complete and bool(importable)


def _is_importable(node: Global) -> bool:
    return all(part.isidentifier() for part in node.full_name.split("."))


def _names_something(stream: Stream) -> bool:
    """Whether a stream imports or calls; a line of a program, `import torch`, is INST of what cannot be imported."""
    return any(
        type(event) is not tuple and (type(event) is not Global or _is_importable(event)) for event in stream.log
    )


def open_container(data: Buffer, limits: Limits, *, name: str = "", nesting: int = 0) -> Container:
    """Tell what `data` is and read every pickle stream in it."""
    if not len(data):
        return Container(kind="empty", description="an empty file", not_checkpoint=True)
    head = data[:4096]
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _open_zip(data, limits, name, nesting)
    foreign = find_foreign_format(head)
    if head.startswith(b"\x93NUMPY"):
        return _open_npy(data, limits, name)
    if is_tar_header(head[:512]):
        return _open_tar(data, limits, name, nesting)
    table = read_safetensors_table(data)
    if table is not None:
        tensors, problems = table
        return Container(
            kind="safetensors",
            description="a safetensors file: tensors only, no pickle",
            tensors=tensors,
            problems=problems,
            without_pickle=True,
        )
    if foreign is not None and foreign[0] != "text":
        return _foreign(data, limits, foreign)
    container = _open_pickles(data, limits, name)
    if container is None and foreign is not None:
        return _foreign(data, limits, foreign)
    if container is None:
        container = Container(kind="unknown", description="no format that is known here", not_checkpoint=True)
    return _add_appended_zip(data, container, limits, name, nesting)


def _foreign(data: Buffer, limits: Limits, foreign: tuple[str, str]) -> Container:
    container = Container(kind=foreign[0], description=foreign[1], not_checkpoint=True)
    return _add_appended_zip(data, container, limits, "", 0)


def _add_appended_zip(data: Buffer, container: Container, limits: Limits, name: str, nesting: int) -> Container:
    """Audit a zip that is appended to something else as well: Python's zipfile would open it."""
    directory = read_zip_directory(data, limits) if nesting < limits.nesting else None
    if directory is None or not directory.members:
        return container
    size = directory.end - directory.start
    if directory.start > 0 and size <= limits.inflated_size_bytes:
        content = data[directory.start : directory.end]
        if any(held == content for held in _find_byte_strings(container)):
            container.notes.append("a zip archive stands in it as a byte string")
            _descend(content, _join(name, "byte string"), directory.start, container, limits, nesting)
            return container
    inner = _open_zip(data, limits, name, nesting)
    container.candidates.extend(inner.candidates)
    for candidate in inner.candidates:
        candidate.root = False
    container.problems.append("a zip archive is appended to it: two readers see two files")
    return container


def _find_byte_strings(container: Container) -> Iterator[bytes | memoryview]:
    """The byte strings in the containers of the object, as d3rlpy keeps a torch file beside its config."""
    root = container.get_root()
    pending: list[Node] = [root.stream.root] if root is not None else []
    seen: set[int] = set()
    while pending and len(seen) < _MOST_CONTAINERS:
        node = pending.pop()
        if type(node) in (bytes, memoryview):
            yield node
        elif type(node) in (list, tuple, DictNode) and id(node) not in seen:
            seen.add(id(node))
            pending.extend(node)


def _open_pickles(data: Buffer, limits: Limits, name: str) -> Container | None:
    """A raw pickle or torch's legacy file: streams one after the other from the first byte."""
    first = run_pickle(data, 0, limits)
    if not first.complete and not first.log and not looks_like_pickle(data[:3]):
        return None
    if not first.complete and not looks_like_pickle(data[:3]) and not _names_something(first):
        return None
    if first.complete and first.end <= 2 and first.end == len(data) and not looks_like_pickle(data[:3]):
        return None
    if type(first.root) is int and first.root == LEGACY_MAGIC:
        return _open_legacy(data, limits, name, first)
    container = Container(
        kind="pickle",
        description="a plain pickle, not written by torch.save",
        candidates=[Candidate(name=name, stream=first, root=True)],
        turns=min(first.end, limits.opcodes),
        torch_refusal="Invalid magic number; corrupt file? (a plain pickle, not written by torch.save)",
    )
    _follow_streams(data, first, container, limits, name)
    silent = not any(_names_something(candidate.stream) for candidate in container.candidates)
    if silent and not looks_like_pickle(data[:3]) and container.candidates[-1].stream.end < len(data):
        return None  # text whose first letters happen to be opcodes up to a full stop
    return container


def _follow_streams(data: Buffer, first: Stream, container: Container, limits: Limits, name: str) -> None:
    """Read the streams that stand behind the first one, as long as each ends in STOP."""
    stream = first
    while stream.complete and stream.end < len(data):
        if not container.may_read_on(limits):
            return
        at = stream.end
        stream = container.read_stream(data, at, limits)
        if not stream.complete and not any(type(event) is not tuple for event in stream.log):
            container.notes.append(f"{len(data) - at} bytes follow the last pickle and are no pickle")
            return
        container.candidates.append(
            Candidate(name=_join(name, f"pickle {len(container.candidates) + 1}"), stream=stream)
        )


def _open_legacy(data: Buffer, limits: Limits, name: str, magic: Stream) -> Container:
    container = Container(
        kind="legacy",
        description="torch's legacy format (before 1.6, or saved with _use_new_zipfile_serialization=False)",
        storage_fields=6,
    )
    streams = [magic]
    labels = ("magic number", "protocol version", "system info", "object", "storage keys")
    while len(streams) < len(labels) and streams[-1].complete:
        streams.append(run_pickle(data, streams[-1].end, limits))
    for label, stream in zip(labels, streams, strict=False):
        container.candidates.append(
            Candidate(name=name if label == "object" else _join(name, label), stream=stream, root=label == "object")
        )
    if len(streams) < len(labels) or not streams[-1].complete:
        return container
    if streams[1].root != _LEGACY_PROTOCOL:
        container.torch_refusal = "Invalid protocol version"
    system = streams[2].root
    if type(system) is type(streams[2].root) and isinstance(system, list):
        for key, value in zip(system[::2], system[1::2], strict=False):
            if key == "little_endian" and value is False:
                container.byteorder = "big"
    container.notes.extend(_locate_legacy_storages(data, streams[3], streams[4], container, name, limits))
    return container


def _locate_legacy_storages(
    data: Buffer, root: Stream, keys: Stream, container: Container, name: str, limits: Limits
) -> list[str]:
    """Find each storage behind the last pickle: eight bytes of length in elements, then the elements."""
    from ._tensors import storage_item_size, storage_record  # the recogniser needs the container only for these sizes

    records = [(event.offset, record) for event in root.log if (record := storage_record(event)) is not None]
    uses = [(offset, record.key, record.item_size_bytes) for offset, record in records]
    uses += [(use.offset, key, storage_item_size(use.kind.name)) for key, use in root.storages.items()]
    sizes = {key: size for _, key, size in sorted(uses, reverse=True)}  # the first use of a key counts
    at = keys.end
    listed = keys.root if isinstance(keys.root, list) else []
    for key in listed:
        if at + 8 > len(data):
            container.problems.append("the file ends before its last storage")
            return []
        count = int.from_bytes(data[at : at + 8], "little", signed=True)
        item = sizes.get(str(key), 0)
        if count < 0 or not item or at + 8 + count * item > len(data):
            if not item and any(type(event) is Persistent and type(event.pid) is str for event in root.log):
                return ["its storages are named in text (protocol 0), which no torch version can read back"]
            if not item:
                container.problems.append("a storage is listed that no tensor uses, so its length is unknown")
            else:
                container.problems.append("the file ends before its last storage")
            return []
        container.storages[str(key)] = (at + 8, count * item)
        at += 8 + count * item
    if at < len(data):
        _add_trailing_pickle(data, at, container, name, limits)
        return [f"{len(data) - at} bytes follow the last storage"]
    return []


def _add_trailing_pickle(data: Buffer, at: int, container: Container, name: str, limits: Limits) -> None:
    """Audit what follows the end of a format as well, where it is pickles that name something."""
    while at < len(data) and container.may_read_on(limits):
        stream = container.read_stream(data, at, limits)
        if any(type(event) is not tuple for event in stream.log):
            container.candidates.append(Candidate(name=_join(name, f"byte {at}"), stream=stream))
        if not stream.complete:
            return
        at = stream.end


def _open_npy(data: Buffer, limits: Limits, name: str) -> Container:
    container = Container(kind="npy", description="a NumPy array file", not_checkpoint=True)
    wide = data[6] > 1 if len(data) > 6 else False
    length = int.from_bytes(data[8:12] if wide else data[8:10], "little")
    start = (12 if wide else 10) + length
    header = data[10:start]
    if b"O" in header.split(b"'shape'")[0].replace(b"fortran_order", b""):
        stream = run_pickle(data, min(start, len(data)), limits)
        container.description = "a NumPy file of pickled objects"
        container.candidates.append(Candidate(name=name, stream=stream, root=True))
    return container


def _open_tar(data: Buffer, limits: Limits, name: str, nesting: int) -> Container:
    import tarfile  # with its compressors a tenth of the command's start, for a format of long ago

    container = Container(
        kind="tar",
        description="a tar archive",
        torch_refusal="Cannot use weights_only=True with files saved in the legacy .tar format.",
    )
    members: list[tuple[str, int, int]] = []
    try:
        with tarfile.open(fileobj=_reader(data), mode="r:", ignore_zeros=False) as archive:
            for member in archive:
                if len(members) >= limits.members:
                    container.limits_hit.append(f"members: stopped after {limits.members}")
                    break
                if member.isreg():
                    members.append((member.name, member.offset_data, member.size))
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError):
        container.problems.append("the tar archive cannot be read to its end")
    names = {member_name for member_name, _, _ in members}
    if len(names) < len(members):
        container.problems.append("two tar members have the same name")
    if {"storages", "tensors", "pickle"} <= names:
        container.kind = "torch-tar"
        container.description = "torch's tar format (before 0.1.10)"
    for member_name, offset, size in members:
        if offset + size > len(data):
            container.problems.append(f"tar member {member_name[:80]!r} reaches behind the end of the file")
            continue
        if size > limits.inflated_size_bytes:
            container.limits_hit.append(
                f"tar member {member_name[:80]!r}: more than {limits.inflated_size_bytes} bytes"
            )
            continue
        if not container.may_read_on(limits):
            break
        _descend(data[offset : offset + size], _join(name, member_name), offset, container, limits, nesting)
    if not container.candidates:
        container.not_checkpoint = not container.problems
    return container


def _reader(data: Buffer) -> IO[bytes]:
    return io.BytesIO(data) if isinstance(data, bytes) else cast(IO[bytes], data)


def _open_preceding(data: Buffer, container: Container, limits: Limits, name: str, nesting: int) -> None:
    """Audit what stands before an archive: zips one after the other, as a shard of a distributed checkpoint is made.

    Source: `torch/distributed/checkpoint/filesystem.py` (`_write_item`): one `torch.save` per tensor, in one file.
    """
    assert container.directory is not None
    stop = container.directory.start
    parts = 1
    while stop > 0:
        if not container.may_read_on(limits):
            return
        directory = read_zip_directory(data, limits, stop=stop)
        if directory is None or directory.end != stop or directory.start < 0 or not directory.members:
            container.notes.append(f"{stop} bytes stand before the archive")
            container.problems.append("an archive begins behind other bytes: two readers see two files")
            _add_trailing_pickle(data, 0, container, name, limits)
            return
        part = _read_zip(data, directory, limits, _join(name, f"archive at byte {directory.start}"), nesting)
        container.candidates.extend(part.candidates)
        container.problems.extend(part.problems)
        container.limits_hit.extend(part.limits_hit)
        container.turns += part.turns
        container.unpacked_size_bytes += part.unpacked_size_bytes
        parts += 1
        stop = directory.start
    for candidate in container.candidates:
        candidate.root = False
    container.kind = "torch-shard"
    container.description = f"{parts} archives one after the other, as torch.distributed.checkpoint writes a shard"
    container.torch_refusal = "PytorchStreamReader failed reading zip archive: invalid header or archive is corrupted"


def _open_zip(data: Buffer, limits: Limits, name: str, nesting: int) -> Container:
    directory = read_zip_directory(data, limits)
    if directory is None:
        return Container(
            kind="zip", description="a zip archive", problems=["the zip has no end record: it is cut off or damaged"]
        )
    container = _read_zip(data, directory, limits, name, nesting)
    if directory.end < len(data):
        container.notes.append(f"{len(data) - directory.end} bytes follow the archive")
        _add_trailing_pickle(data, directory.end, container, name, limits)
    if directory.start > 0:
        _open_preceding(data, container, limits, name, nesting)
    known = container.without_pickle or container.kind == "pt2"
    if not container.candidates and not known and not container.problems:
        container.not_checkpoint = True
    return container


def _read_zip(data: Buffer, directory: ZipDirectory, limits: Limits, name: str, nesting: int) -> Container:
    """Tell what kind of zip a directory describes, and read its pickles."""
    container = Container(kind="zip", description="a zip archive", directory=directory)
    container.problems.extend(directory.problems)
    if directory.limit:
        container.limits_hit.append(directory.limit)
    members = directory.members
    names = {member.name for member in members}
    prefix = members[0].name.partition("/")[0] + "/" if members and "/" in members[0].name else ""
    container.prefix = prefix
    if f"{prefix}constants.pkl" in names:
        container.kind = "torchscript"
        container.description = "a TorchScript archive: compiled code with its weights"
        container.torch_refusal = "Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``."
    elif f"{prefix}data.pkl" in names:
        container.kind = "torch-zip"
        container.description = "a torch.save zip archive"
    elif {
        f"{prefix}archive_format",
        f"{prefix}models/model.json",
    } <= names or "serialized_exported_program.json" in names:
        container.kind = "pt2"
        container.description = "a program of torch.export (.pt2): a graph as JSON with its weights"
    elif "manifest.json" in names and "weights.safetensors" in names:
        container.kind = "mpt"
        container.description = "an .mpt archive: YAML, JSON and safetensors, no pickle"
        container.without_pickle = True
    elif "weights.safetensors" in names and "modelarchitecture.txt" in names:
        container.kind = "ancestor-mpt"
        container.description = "an .mpt of the predecessor: safetensors and an architecture text, no pickle"
        container.without_pickle = True
    elif "_stable_baselines3_version" in names or ("data" in names and "policy.pth" in names):
        container.kind = "sb3-zip"
        container.description = "a stable-baselines3 model: a zip of JSON with pickles and torch files"
    elif members and all(member.name.endswith(".npy") for member in members):
        container.kind = "npz"
        container.description = "a NumPy .npz archive"
    if container.kind not in ("torch-zip", "torchscript"):
        container.torch_refusal = (
            "PytorchStreamReader failed locating file data.pkl: file not found (a zip not written by torch.save)"
        )
    _read_members(data, container, limits, name, nesting)
    return container


def _read_members(data: Buffer, container: Container, limits: Limits, name: str, nesting: int) -> None:
    directory = container.directory
    assert directory is not None
    in_torch = container.kind in ("torch-zip", "torchscript")
    records = container.prefix + "data/"
    constants = container.prefix + "constants/" if container.kind == "torchscript" else records
    others = directory.members
    if in_torch:  # nearly all members are tensor records: take them together
        cut, storages, others = len(records), container.storages, []
        for member in reversed(directory.members):
            member_name = member[0]
            if member_name.startswith(records) and member[1] == STORED and member[7] >= 0:
                storages[member_name[cut:]] = (member[7], member[4])
            elif not member_name.startswith((records, constants)):
                others.append(member)
        others.reverse()
    for member in others:
        _read_member(data, member, container, limits, name, nesting)
    if not in_torch:
        return
    named: set[str] = set().union(*(candidate.get_summary(5).storages for candidate in container.candidates))
    if len(others) + len(container.storages) == len(directory.members) and container.storages.keys() <= named:
        return  # nearly every file
    for folder in {records, constants}:  # what no tensor names is no record, wherever it lies
        for member in directory.members:
            if member.name.startswith(folder) and member.name[len(folder) :] not in named:
                _read_member(data, member, container, limits, name, nesting)


def _read_member(
    data: Buffer, member: ZipMember, container: Container, limits: Limits, name: str, nesting: int
) -> None:
    member_name = member.name
    in_torch = container.kind in ("torch-zip", "torchscript")
    if not member.size_bytes:
        return
    if member_name.endswith(".safetensors"):
        _read_tensor_member(data, member, container, limits)
        return
    is_root = in_torch and member_name == container.prefix + "data.pkl" and container.get_root() is None
    label = _join(name, member_name)
    if is_root and member.method == STORED and member.data_offset >= 0 and member.size_bytes > _COPY_LIMIT:
        stop = member.data_offset + member.size_bytes
        stream = container.read_stream(data, member.data_offset, limits, stop=stop)
        container.candidates.append(Candidate(name=name, stream=stream, root=True))
        return
    if not is_root and not container.may_read_on(limits):
        return
    announced = is_root or _is_announced(data, member)
    if not announced and member.method == STORED:
        if member.data_offset >= 0:
            stop = member.data_offset + member.size_bytes
            container.add_unannounced(label, container.read_stream(data, member.data_offset, limits, stop=stop))
            _note_byteorder(data, member, container)
        return
    if member.size_bytes > limits.inflated_size_bytes:
        container.limits_hit.append(f"member {member_name[:80]!r}: more than {limits.inflated_size_bytes} bytes")
        return
    content, reason = unpack_member(data, member, limits)
    if content is None:
        if reason is not None and reason.startswith("limit: "):
            container.limits_hit.append(f"member {member_name[:80]!r}: {reason[7:]}")
        elif announced:
            container.problems.append(f"member {member_name[:80]!r} cannot be read: {reason}")
        else:
            container.limits_hit.append(f"member {member_name[:80]!r} is not read: {reason}")
        return
    base = member.data_offset if member.method == STORED else 0
    container.unpacked_size_bytes += 0 if member.method == STORED else len(content)
    if is_root:
        stream = container.read_stream(content, 0, limits)
        container.candidates.append(Candidate(name=name, stream=stream, base=base, root=True))
        _follow_streams(content, stream, container, limits, name)
    elif container.kind == "sb3-zip" and member_name == "data":
        _read_sb3_data(content, container, limits, label)
    elif announced or _is_announced_by_bytes(content[:512]):
        _descend(content, label, base, container, limits, nesting)
    else:
        container.add_unannounced(label, container.read_stream(content, 0, limits))


def _note_byteorder(data: Buffer, member: ZipMember, container: Container) -> None:
    """Keep what the record `byteorder` of a torch zip says."""
    if member.name == container.prefix + "byteorder":
        content = data[member.data_offset : member.data_offset + min(member.size_bytes, 8)]
        if content in (b"little", b"big"):
            container.byteorder = content.decode()


def _is_announced(data: Buffer, member: ZipMember) -> bool:
    """Whether a member says that it is a pickle or an archive: by its name, or by its first bytes."""
    if _is_pickle_name(member.name) or member.name == "data":
        return True
    if member.method != STORED or member.data_offset < 0:
        return False
    head = data[member.data_offset : member.data_offset + min(member.size_bytes, 512)]
    return _is_announced_by_bytes(head)


def _is_announced_by_bytes(head: bytes) -> bool:
    return looks_like_pickle(head) or head[:2] == b"PK" or head[:6] == b"\x93NUMPY" or is_tar_header(head)


def _is_pickle_name(name: str) -> bool:
    return name.lower().endswith((".pkl", ".pickle", ".pth", ".pt", ".bin", ".ckpt", ".p", ".joblib", ".tar", ".npy"))


def _descend(content: Buffer, label: str, base: int, container: Container, limits: Limits, nesting: int) -> None:
    """Audit one member: a pickle, or an archive inside the archive."""
    if nesting >= limits.nesting:
        container.limits_hit.append(f"nesting: {label[:80]} is not opened")
        return
    if not container.may_read_on(limits):
        return
    inner = open_container(content, limits, name=label, nesting=nesting + 1)
    container.turns += inner.turns
    container.unpacked_size_bytes += inner.unpacked_size_bytes
    for candidate in inner.candidates:
        candidate.root = candidate.root and container.kind == "sb3-zip" and label.endswith("policy.pth")
        candidate.base += base
        container.candidates.append(candidate)
    container.limits_hit.extend(inner.limits_hit)
    container.problems.extend(f"{label[:80]}: {problem}" for problem in inner.problems)
    if container.kind == "sb3-zip" and label.endswith("policy.pth"):
        container.storages = {key: (offset + base, size) for key, (offset, size) in inner.storages.items()}
        container.byteorder = inner.byteorder
        container.storage_fields = inner.storage_fields


def _read_tensor_member(data: Buffer, member: ZipMember, container: Container, limits: Limits) -> None:
    if member.method == STORED:
        content: Buffer | None = data[member.data_offset : member.data_offset + min(member.size_bytes, 64 << 20)]
        whole = member.size_bytes
    else:
        content, reason = unpack_member(data, member, limits)
        whole = member.size_bytes
        if content is None:
            container.problems.append(f"member {member.name[:80]!r} cannot be read: {reason}")
            return
    assert content is not None
    table = read_safetensors_table(content, whole)
    if table is None:
        container.problems.append(f"member {member.name[:80]!r} is no safetensors file")
        return
    container.tensors.extend(table[0])
    container.problems.extend(table[1])


def _read_sb3_data(content: Buffer, container: Container, limits: Limits, label: str) -> None:
    """Audit the cloudpickles that stable-baselines3 keeps as base64 in the JSON member `data`."""
    if len(content) > _MAX_JSON_BYTES:
        container.limits_hit.append(f"{label}: more than {_MAX_JSON_BYTES} bytes of JSON")
        return
    try:
        document = json.loads(content[:], object_pairs_hook=partial(_take_pairs, container, label))
    except (ValueError, RecursionError):
        container.problems.append(f"{label} is no JSON")
        return
    pending: list[tuple[str, object]] = [("", document)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, dict):
            serialized = value.get(":serialized:")
            if isinstance(serialized, str):
                try:
                    raw = base64.b64decode(serialized)  # leniently, as the library that loads it does
                except (binascii.Error, ValueError):
                    container.problems.append(f"{label}{where}: the base64 text is broken")
                    continue
                if not container.may_read_on(limits):
                    return
                stream = container.read_stream(raw, 0, limits)
                container.candidates.append(Candidate(name=f"{label}{where}", stream=stream))
            pending.extend((f"{where}[{key!r}]", inner) for key, inner in reversed(list(value.items())))
        elif isinstance(value, list):
            pending.extend((f"{where}[{index}]", inner) for index, inner in reversed(list(enumerate(value))))


def _take_pairs(container: Container, label: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; a key that stands twice is a problem, because readers differ in which one they take."""
    taken = dict(pairs)
    if len(taken) < len(pairs):
        problem = f"{label} has a key twice"
        if problem not in container.problems:
            container.problems.append(problem)
    return taken


def _join(name: str, inner: str) -> str:
    return f"{name}!{inner}" if name else inner
