"""Verification: the whole list of what is wrong with an archive, at three depths.

Opening has already judged the container and the manifest. Nothing is repaired, and a first problem hides no second.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mpt_format import format as layout
from mpt_format.dtypes import find_size_bytes
from mpt_format.errors import ArchiveError, ArchiveProblem, CorruptArchiveError, ManifestError

if TYPE_CHECKING:
    from mpt_format.archive import Archive, VerifyLevel

_PIECE_BYTES = 8 << 20


def check_archive(archive: Archive, level: VerifyLevel, on_bytes: Callable[[int], object]) -> None:
    """Raise when anything is wrong at the given depth.

    Args:
        archive: opened.
        level: the depth.
        on_bytes: is told of every piece that was compared, in bytes.

    Raises:
        ArchiveError or ManifestError: the class of the first problem, with the problems of all.
    """
    if level == "structure":
        return
    errors: list[ArchiveError | ManifestError] = []
    for name in archive.members:
        try:
            _check_member(archive, name)
        except (ArchiveError, ManifestError) as error:
            errors.append(error)
    if level == "full":
        problems = list(_full_problems(archive, on_bytes)) if not errors else []
        if problems:
            errors.append(CorruptArchiveError(archive.path, problems))
    if errors:
        raise type(errors[0])(archive.path, [problem for error in errors for problem in error.problems])


def _check_member(archive: Archive, name: str) -> None:
    """Compare a small member's digest and parse it; of tensor members only the header."""
    if name == layout.WEIGHTS:
        _ = archive.weights_layout
    elif name == layout.ARCHITECTURE:
        _ = archive.architecture
    elif name == layout.GAME_RULES:
        _ = archive.game_rules
    elif name == layout.EXTRA_STATE:
        _ = archive.extra_state
    elif name.endswith(".safetensors"):
        archive.check_tensor_member_header(name)
    elif name.endswith(".json") and name != layout.MANIFEST:
        archive.read_json(name)
    elif name != layout.MANIFEST:
        archive.read_member(name)


def _full_problems(archive: Archive, on_bytes: Callable[[int], object]) -> Iterator[ArchiveProblem]:
    """Yield every digest and checksum that differs, reading each byte once."""
    for name, member in archive.members.items():
        if name == layout.WEIGHTS:
            yield from _weights_problems(archive, on_bytes)
            continue
        digest, checksum = hashlib.sha256(), 0
        for piece in archive.read_pieces(member.offset, member.size_bytes, _PIECE_BYTES):
            digest.update(piece)
            checksum = zlib.crc32(piece, checksum)
            on_bytes(len(piece))
        record = archive.manifest.members.get(name)
        if record is not None and digest.hexdigest() != record.sha256:
            yield ArchiveProblem(where=name, message="differs from the digest in the manifest")
        if checksum != member.crc32:
            yield ArchiveProblem(where=name, message="differs from the checksum in the container")


def _weights_problems(archive: Archive, on_bytes: Callable[[int], object]) -> Iterator[ArchiveProblem]:
    member = archive.members[layout.WEIGHTS]
    buffer_offset, starts = archive.weights_layout
    checksum = 0
    for piece in archive.read_pieces(member.offset, buffer_offset - member.offset, _PIECE_BYTES):
        checksum = zlib.crc32(piece, checksum)
    for name, start in starts.items():
        digest = hashlib.sha256()
        record = archive.tensors[name]
        size = find_size_bytes(record.dtype, record.shape) or 0
        for piece in archive.read_pieces(buffer_offset + start, size, _PIECE_BYTES):
            digest.update(piece)
            checksum = zlib.crc32(piece, checksum)
            on_bytes(len(piece))
        if digest.hexdigest() != record.sha256:
            where = f"{layout.WEIGHTS}: {name!r:.120}"
            yield ArchiveProblem(where=where, message="differs from the digest in the manifest")
    if checksum != member.crc32:
        yield ArchiveProblem(where=layout.WEIGHTS, message="differs from the checksum in the container")
