"""Tensors that a migration computes: each computed once, kept in a file without a name, and mapped from there.

A tensor that only took another name stays a view into the old archive and is not here. The file lies beside the target
and has no name, so nothing is left of it however the process ends; its pages are the file's, so a migration needs no
memory for them. Every mapping is private: model code that writes into its weights while it is proven changes neither
the file nor what is written afterwards.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mpt_format.disk import reserve_room
from mpt_format.errors import ArchiveProblem, ArchiveWriteError
from mpt_format.torch_views import view_tensors

from app_loader.revisions.lazy import LazyPayload, LazyTensor
from app_loader.revisions.migrated import Migrated

_ALIGNMENT_BYTES = 64  # what torch gives its own tensors: other alignments may round differently


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies in the file."""

    payload: LazyPayload
    offset: int


class Spill:
    """The computed tensors of one migration.

    Attributes:
        size_bytes: of all of them.
    """

    def __init__(self, target: Path, tensors: Mapping[str, LazyTensor], beside_bytes: int = 0) -> None:
        """Give every tensor that has to be computed its place in the file; `compute` fills it.

        Args:
            target: the archive to be; the file lies on its file system.
            tensors: of the migrated state.
            beside_bytes: of what else the archive is going to hold, such as an optimizer's slots.

        Raises:
            ArchiveWriteError: the file cannot be made, or the disk has no room for it and the archive.
        """
        self._target = target
        self._places: dict[str, _Place] = {}
        at, seen, archive_bytes = 0, set[int](), beside_bytes
        for key, lazy in tensors.items():
            if id(lazy) in seen:
                continue
            seen.add(id(lazy))
            archive_bytes += lazy.size_bytes
            if not lazy.at_hand:
                self._places[key] = _Place(LazyPayload.of(lazy, key), at)
                at += -(-lazy.size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        self.size_bytes = at
        folder = target.absolute().parent
        try:
            self._check_room(shutil.disk_usage(folder).free, archive_bytes)
            self._file = tempfile.TemporaryFile(dir=folder, prefix=f".{target.name}.", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # mappings keep the file until they are gone

    def compute(self) -> None:
        """Compute every tensor once and keep it.

        Raises:
            ArchiveWriteError: the disk is full.
            MigrationError: a tensor cannot be computed: undoing would lose what was learned since.
        """
        try:
            reserve_room(self._file.fileno(), self.size_bytes)
            for place in self._places.values():
                at = place.offset
                for piece in place.payload.pieces():
                    _write_at(self._file.fileno(), piece, at)
                    at += len(piece)
            self._file.truncate(self.size_bytes)  # up to the last tensor's alignment
        except OSError as error:
            raise self._refused(error) from error

    def mapped(self, migrated: Migrated) -> Migrated:
        """Return a state whose computed tensors lie in a new mapping of the file.

        Args:
            migrated: the same state as was computed, or one that was made of the archive in the same way.
        """
        if not self.size_bytes:
            return migrated
        memory = mmap.mmap(self._file.fileno(), self.size_bytes, access=mmap.ACCESS_COPY)
        entries = [(key, p.payload.dtype, p.payload.shape, p.offset) for key, p in self._places.items()]
        views = view_tensors(memory, entries, path=str(self._target))
        kept: dict[int, LazyTensor] = {}
        for key, view in views.items():
            before = migrated.tensors[key]
            kept[id(before)] = LazyTensor.of(view, before.kind)
        return replace(migrated, tensors={key: kept.get(id(lazy), lazy) for key, lazy in migrated.tensors.items()})

    def _check_room(self, free_bytes: int, archive_bytes: int) -> None:
        needed = archive_bytes + self.size_bytes
        if needed > free_bytes:
            message = (
                f"{needed:,} bytes are needed ({archive_bytes:,} for the new archive, {self.size_bytes:,} for tensors "
                f"that are computed, until it is written) and {free_bytes:,} are free"
            )
            raise ArchiveWriteError(str(self._target), [ArchiveProblem(where="file system", message=message)], 28)

    def _refused(self, error: OSError) -> ArchiveWriteError:
        if isinstance(error, ArchiveWriteError):
            return error
        problem = ArchiveProblem(where="file system", message=error.strerror or str(error))
        return ArchiveWriteError(str(self._target), [problem], error.errno)


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
