"""An archive as a plain folder, and back: the same members as files, the same bytes again.

Packing trusts nothing in the folder: sizes and digests of the manifest are made anew from the files, so a member may be
edited by hand. What was not touched gives the bytes of the archive it came from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mpt_format import format as layout
from mpt_format.archive import Archive, open_archive
from mpt_format.byte_source import LocalSource
from mpt_format.digesting import crc32_of
from mpt_format.errors import ArchiveError, ArchiveNotFoundError, ArchiveProblem, ArchiveWriteError, UnsafeArchiveError
from mpt_format.manifest import Manifest, parse_manifest
from mpt_format.records import ArchitectureRecord, MemberRecord
from mpt_format.strict_yaml import parse_yaml
from mpt_format.tensor_header import LENGTH, TensorSlot, parse_header_length, parse_tensor_header
from mpt_format.writer import WrittenArchive, replacing_file
from mpt_format.zip_writer import ZipWriter

_PIECE_BYTES = 8 << 20


def unpack_archive(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write an archive's members as files; every digest is compared on the way.

    Args:
        path: the archive.
        folder: must not exist; it appears complete or not at all.

    Raises:
        ArchiveError or ManifestError: the archive is damaged or hostile.
        ArchiveWriteError: the folder exists, or the file system refused.
    """
    target = Path(folder)
    with open_archive(path) as archive:
        archive.verify("full")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            if target.exists():
                raise FileExistsError(17, "the folder exists already; nothing is overwritten")
            temporary.mkdir(parents=True)
            _unpack_members(archive, temporary)
            temporary.rename(target)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, ArchiveError):
                raise
            problem = ArchiveProblem(where="folder", message=error.strerror or str(error))
            raise ArchiveWriteError(str(target), [problem], error.errno) from error
    return target


def pack_folder(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> WrittenArchive:
    """Build an archive from a folder that `unpack_archive` or ``unzip`` made.

    Raises:
        ArchiveNotFoundError: no such folder, or no manifest in it.
        UnsafeArchiveError: something in it is no member: other names, links, special files.
        ArchiveError or ManifestError: a member is malformed.
        ArchiveWriteError: the file system refused.
    """
    root = Path(folder)
    files = _find_files(root)
    manifest = parse_manifest(_read_file(files[layout.MANIFEST], layout.MAX_MANIFEST_BYTES), path=str(folder))
    scanned = {name: _scan(file, name) for name, file in files.items() if name != layout.MANIFEST}
    manifest = _refreshed(manifest, scanned, files)
    target = Path(path)
    with replacing_file(target) as fd:
        writer = ZipWriter(fd)
        text = manifest.to_json()
        writer.begin_member(layout.MANIFEST, len(text))
        writer.write(text)
        writer.end_member(crc32_of(text))
        for name, member in scanned.items():
            writer.begin_member(name, member.record.size_bytes)
            for piece in _pieces(files[name]):
                writer.write(piece)
            writer.end_member(member.crc32)
        size = writer.finish()
        with Archive(LocalSource.of_descriptor(fd, str(folder))) as packed:
            packed.verify("quick")  # what the folder holds together is judged before it takes the target's place
    return WrittenArchive(path=target, size_bytes=size, content_digest=manifest.content_digest, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scanned:
    record: MemberRecord
    crc32: int
    slots: dict[str, TensorSlot]
    digests: dict[str, str]


def _unpack_members(archive: Archive, folder: Path) -> None:
    for name, member in archive.members.items():
        file = folder / name  # names were judged: the archive's alphabet, at most one folder
        file.parent.mkdir(exist_ok=True)
        with file.open("xb") as stream:
            for piece in archive.read_pieces(member.offset, member.size_bytes, _PIECE_BYTES):
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())


def _find_files(root: Path) -> dict[str, Path]:
    if not (root / layout.MANIFEST).is_file():
        problem = ArchiveProblem(where=layout.MANIFEST, message="is not in the folder")
        raise ArchiveNotFoundError(str(root), [problem])
    problems: list[ArchiveProblem] = []
    files: dict[str, Path] = {}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        mode = file.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            problems.append(ArchiveProblem(where=name, message="is a link or a special file"))
        elif not layout.is_known_member(name):
            problems.append(ArchiveProblem(where=name, message="is not a member of this format"))
        files[name] = file
    if problems:
        raise UnsafeArchiveError(str(root), problems)
    return dict(sorted(files.items(), key=lambda item: layout.member_rank(item[0])))


def _scan(file: Path, name: str) -> _Scanned:
    """Digest a file in one pass; the weights section by section."""
    size = file.stat().st_size
    sections: list[tuple[str, int]] = [("", size)]
    slots: dict[str, TensorSlot] = {}
    if name.endswith(".safetensors"):
        with file.open("rb") as stream:
            length = parse_header_length(stream.read(LENGTH.size), member_bytes=size, subject=name)
            start = LENGTH.size + length
            slots = parse_tensor_header(stream.read(length), buffer_bytes=size - start, subject=name)
        if name == layout.WEIGHTS:
            sections = [("", start), *((tensor, slot.stop - slot.start) for tensor, slot in slots.items())]
    checksum = 0
    digests: dict[str, str] = {}
    with file.open("rb") as stream:
        for section, left in sections:
            digest = hashlib.sha256()
            while left and (piece := stream.read(min(left, _PIECE_BYTES))):
                digest.update(piece)
                checksum = crc32_of(piece, checksum)
                left -= len(piece)
            digests[section] = digest.hexdigest()
    own = digests.pop("")
    is_weights = name == layout.WEIGHTS
    record = (
        MemberRecord(size_bytes=size, header_sha256=own) if is_weights else MemberRecord(size_bytes=size, sha256=own)
    )
    return _Scanned(record=record, crc32=checksum, slots=slots, digests=digests)


def _refreshed(manifest: Manifest, scanned: dict[str, _Scanned], files: dict[str, Path]) -> Manifest:
    """Return the manifest with the sizes, digests, shapes and dtypes of the files."""
    problems: list[ArchiveProblem] = []
    weights = scanned.get(layout.WEIGHTS)
    slots, digests = (weights.slots, weights.digests) if weights else ({}, {})
    for name in manifest.tensors.keys() ^ slots.keys():
        message = f"is in only one of {layout.MANIFEST} and {layout.WEIGHTS}"
        problems.append(ArchiveProblem(where=f"tensor {name!r:.120}", message=message))
    if problems:
        raise UnsafeArchiveError(None, problems)
    architecture = manifest.architecture
    if layout.ARCHITECTURE in files:
        data = _read_file(files[layout.ARCHITECTURE], layout.MAX_ARCHITECTURE_BYTES)
        document = parse_yaml(data, subject=layout.ARCHITECTURE)
        kind, version = (
            (document.get("kind"), document.get("schema_version")) if isinstance(document, dict) else ("", 0)
        )
        if isinstance(kind, str) and type(version) is int:
            old = architecture or ArchitectureRecord(kind=kind, schema_version=version)
            architecture = replace(old, kind=kind, schema_version=version)
    else:
        architecture = None
    refreshed = replace(
        manifest,
        architecture=architecture,
        witness=manifest.witness if layout.WITNESS in scanned else None,
        members={name: member.record for name, member in scanned.items()},
        tensors={
            name: replace(record, dtype=slots[name].dtype, shape=slots[name].shape, sha256=digests[name])
            for name, record in manifest.tensors.items()
        },
    )
    parse_manifest(refreshed.to_json())
    return refreshed


def _read_file(file: Path, max_bytes: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(max_bytes + 1)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece
