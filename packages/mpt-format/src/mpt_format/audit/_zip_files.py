"""Zip archives: which kind a directory describes, and the pickles among its members.

Every member that could be a pickle is read, also one that no name and no first byte announces; tensor records are
located and not read.

Source: `torch/serialization.py` (`_save`), `torch/distributed/checkpoint/filesystem.py`, safetensors' format.
"""

from __future__ import annotations

__all__ = ["open_zip"]

from ._container import Candidate, Container, Opener, join_names
from ._limits import Limits
from ._pickle_files import add_trailing_pickle, follow_streams
from ._safetensors import read_safetensors_table
from ._sb3_data import read_sb3_data
from ._sniff import is_tar_header, looks_like_pickle
from ._stream import Buffer
from ._torch_zip import find_layout_refusal
from ._zip import DEFLATED, STORED, ZipDirectory, ZipMember, read_zip_directory, unpack_member

_COPY_LIMIT = 64 << 20
"""A main pickle above this is read in place; a smaller one is copied, because indexing bytes is faster."""


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
            add_trailing_pickle(data, 0, container, name, limits)
            return
        part = _read_zip(
            data, directory, limits, join_names(name, f"archive at byte {directory.start}"), nesting, container.opener
        )
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


def open_zip(data: Buffer, limits: Limits, name: str, nesting: int, opener: Opener) -> Container:
    directory = read_zip_directory(data, limits)
    if directory is None:
        return Container(
            kind="zip",
            description="a zip archive",
            opener=opener,
            problems=["the zip has no end record: it is cut off or damaged"],
        )
    container = _read_zip(data, directory, limits, name, nesting, opener)
    if directory.end < len(data):
        container.notes.append(f"{len(data) - directory.end} bytes follow the archive")
        add_trailing_pickle(data, directory.end, container, name, limits)
    if directory.start > 0:
        _open_preceding(data, container, limits, name, nesting)
    known = container.without_pickle or container.kind == "pt2"
    if not container.candidates and not known and not container.problems:
        container.not_checkpoint = True
    return container


def _read_zip(
    data: Buffer, directory: ZipDirectory, limits: Limits, name: str, nesting: int, opener: Opener
) -> Container:
    """Tell what kind of zip a directory describes, and read its pickles."""
    container = Container(kind="zip", description="a zip archive", opener=opener, directory=directory)
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
        container.torch_refusal = find_layout_refusal(data, directory, prefix, limits)
    elif {
        f"{prefix}archive_format",
        f"{prefix}models/model.json",
    } <= names or "serialized_exported_program.json" in names:
        container.kind = "pt2"
        container.description = "a program of torch.export (.pt2): a graph as JSON with its weights"
    elif f"{prefix}.data/extern_modules" in names:
        container.kind = "torch-package"
        container.description = "an archive of torch.package: code, and the pickles and tensors that need it"
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
            elif member_name.startswith(records) and member[1] == DEFLATED and member[7] >= 0:
                container.packed[member_name[cut:]] = member[5]
            elif not member_name.startswith((records, constants)):
                others.append(member)
        others.reverse()
    for member in others:
        _read_member(data, member, container, limits, name, nesting)
    if not in_torch:
        return
    tensors = [candidate.get_summary(5).storages for candidate in container.candidates]
    if len(others) + len(container.storages) == len(directory.members) and any(
        container.storages.keys() <= named.keys() for named in tensors
    ):
        return  # nearly every file: all records are tensors of one object
    named = set().union(*tensors)
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
    label = join_names(name, member_name)
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
        follow_streams(content, stream, container, limits, name)
    elif container.kind == "sb3-zip" and member_name == "data":
        read_sb3_data(content, container, limits, label)
    elif announced or _is_announced_by_bytes(content[:512]):
        container.descend(content, label, base, limits, nesting)
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
