"""An archive as a plain folder, and back: the same members as files, the same bytes again.

Packing trusts no size and no digest in the folder: the archive is written anew from what the files hold, so a member
may be edited by hand or by another tool. What was not touched gives the bytes of the archive it came from.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpt_format import format as layout
from mpt_format.archive import Archive
from mpt_format.content import ArchiveContent
from mpt_format.errors import (
    ArchiveError,
    ArchiveNotFoundError,
    ArchiveProblem,
    ArchiveWriteError,
    MalformedDocumentError,
    UnsafeArchiveError,
    UnsupportedVersionError,
)
from mpt_format.manifest import Manifest, parse_manifest
from mpt_format.module_state import ModuleState, StoredTensor
from mpt_format.opening import open_archive
from mpt_format.payload import PIECE_BYTES
from mpt_format.strict_json import Json, parse_json
from mpt_format.tensor_header import LENGTH, parse_header_length, parse_tensor_header
from mpt_format.writer import WrittenArchive, write_archive


def unpack_archive(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write an archive's members as files; every digest is compared first.

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
                raise FileExistsError(17, "exists already; nothing is overwritten")
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
        UnsupportedVersionError: the manifest was written by a newer format or revision.
        ArchiveError or ManifestError: a member is malformed.
        UnstorableStateError: the members contradict each other.
        ArchiveWriteError: the file system refused.
    """
    root = Path(folder)
    files = _find_files(root)
    manifest = parse_manifest(_read_file(files[layout.MANIFEST], layout.MAX_MANIFEST_BYTES), path=str(folder))
    if (manifest.format, manifest.revision) > (layout.FORMAT, layout.REVISION):
        raise UnsupportedVersionError(str(folder), manifest.format, layout.FORMAT)
    return write_archive(path, _content(manifest, files))


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePayload:
    """A tensor whose bytes lie in a file.

    Attributes:
        dtype: the format's name.
        shape: lengths in elements.
        path: the file.
        offset: first byte.
        size_bytes: bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    size_bytes: int

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces."""
        left = self.size_bytes
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            while left and (piece := stream.read(min(left, PIECE_BYTES))):
                yield memoryview(piece)
                left -= len(piece)


def _unpack_members(archive: Archive, folder: Path) -> None:
    for name, member in archive.members.items():
        file = folder / name  # names were judged: the archive's alphabet, at most one folder
        file.parent.mkdir(exist_ok=True)
        with file.open("xb") as stream:
            for piece in archive.read_pieces(member.offset, member.size_bytes, PIECE_BYTES):
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
    return files


def _content(manifest: Manifest, files: Mapping[str, Path]) -> ArchiveContent:
    def text(name: str) -> str | None:
        return _read_file(files[name], layout.MAX_DOCUMENT_BYTES).decode("utf-8") if name in files else None

    def document(name: str) -> dict[str, Json] | None:
        value = _document(files, name)
        if value is not None and not isinstance(value, dict):
            raise MalformedDocumentError(None, [ArchiveProblem(where=name, message="is not an object")])
        return value

    trainer = [name.removeprefix("trainer/") for name in files if name.startswith("trainer/")]
    try:
        architecture, readme, pylock = text(layout.ARCHITECTURE), text(layout.README), text(layout.PYLOCK)
    except UnicodeDecodeError as error:
        raise MalformedDocumentError(None, [ArchiveProblem(where="text member", message=str(error))]) from None
    diff = files.get(layout.SOURCE_DIFF)
    return ArchiveContent(
        state=_state(manifest, files, document(layout.EXTRA_STATE) or {}),
        architecture=architecture,
        config_sources=manifest.architecture.config_sources if manifest.architecture else {},
        game_rules=document(layout.GAME_RULES),
        code=manifest.code,
        requires=manifest.requires,
        environment=manifest.environment,
        migration=manifest.migration,
        witness=_payloads(files[layout.WITNESS], layout.WITNESS) if layout.WITNESS in files else None,
        witness_spec=manifest.witness if layout.WITNESS in files else None,
        training=manifest.training,
        lineage=manifest.lineage,
        source_diff=_read_file(diff, layout.MAX_DOCUMENT_BYTES) if diff else None,
        pylock=pylock,
        training_document=document(layout.TRAINING),
        readme=readme,
        trainer_tensors={
            name.removesuffix(".safetensors"): _payloads(files[f"trainer/{name}"], name)
            for name in trainer
            if name.endswith(".safetensors")
        },
        trainer_documents={
            name.removesuffix(".json"): _document(files, f"trainer/{name}")
            for name in trainer
            if name.endswith(".json")
        },
        created=manifest.created,
    )


def _state(manifest: Manifest, files: Mapping[str, Path], extra_state: Mapping[str, Json]) -> ModuleState:
    weights = _payloads(files[layout.WEIGHTS], layout.WEIGHTS) if layout.WEIGHTS in files else {}
    problems = [
        ArchiveProblem(where=f"tensor {name!r:.120}", message="is in only one of manifest.json and weights.safetensors")
        for name in manifest.tensors.keys() ^ weights.keys()
    ]
    if problems:
        raise UnsafeArchiveError(None, problems)
    return ModuleState(
        tensors={
            name: StoredTensor(payload=weights[name], kind=record.kind, stride=record.stride)
            for name, record in manifest.tensors.items()
        },
        aliases=manifest.aliases,
        modules=manifest.modules,
        extra_state=extra_state,
    )


def _payloads(file: Path, subject: str) -> dict[str, FilePayload]:
    """Return the tensors of a safetensors file of any layout, where they lie in it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = parse_header_length(stream.read(LENGTH.size), member_bytes=size, subject=subject)
        start = LENGTH.size + length
        slots = parse_tensor_header(stream.read(length), buffer_bytes=size - start, subject=subject)
    return {
        name: FilePayload(
            dtype=slot.dtype,
            shape=slot.shape,
            path=file,
            offset=start + slot.start,
            size_bytes=slot.stop - slot.start,
        )
        for name, slot in slots.items()
    }


def _document(files: Mapping[str, Path], name: str) -> Json:
    if name not in files:
        return None
    return parse_json(_read_file(files[name], layout.MAX_DOCUMENT_BYTES), subject=name)


def _read_file(file: Path, max_bytes: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(max_bytes + 1)
