"""The matrix: rows are checkpoints, columns are versions of the code, the newest last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from app_loader.museum.cell import Cell, try_version
from app_loader.store import Store

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One checkpoint.

    Attributes:
        checkpoint: its path below the folder, without the suffix.
        cells: what each version makes of it, in the matrix's order.
    """

    checkpoint: str
    cells: tuple[Cell, ...]

    @property
    def loads_with_its_own_code(self) -> bool:
        """Whether the code that trained it still computes what it computed."""
        return any(cell.trained and cell.verdict.loads for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Every checkpoint with every version.

    Attributes:
        versions: the columns.
        rows: the checkpoints, sorted.
    """

    versions: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def kept(self) -> bool:
        """Whether every checkpoint still loads with the code that trained it."""
        return all(row.loads_with_its_own_code for row in self.rows)

    def to_document(self) -> dict[str, Any]:
        """Return the matrix as plain data."""
        rows = {row.checkpoint: [cell.to_document() for cell in row.cells] for row in self.rows}
        return {"versions": list(self.versions), "checkpoints": rows}


def make_matrix(folder: Path, store: Store, *, current: bool = True, progress: Progress | None = None) -> Matrix:
    """Load every checkpoint below a folder with every stored version of the code that made it.

    Args:
        folder: searched for ``*.mpt``.
        store: whose versions are the columns.
        current: whether the installed code is the last column.
        progress: told how many cells are done and how many there are.

    Raises:
        MptError: a checkpoint cannot be read at all.
    """
    paths = sorted(folder.rglob("*.mpt"), key=lambda path: _order(path.relative_to(folder)))
    versions = _versions(store, current=current)
    rows = []
    for number, path in enumerate(paths):
        cells = []
        for column, version in enumerate(versions):
            cells.append(try_version(path, version, store))
            if progress is not None:
                progress(number * len(versions) + column + 1, len(paths) * len(versions))
        name = path.relative_to(folder).with_suffix("").as_posix()
        rows.append(Row(checkpoint=name, cells=tuple(cells)))
    return Matrix(versions=versions, rows=tuple(rows))


def _versions(store: Store, *, current: bool) -> tuple[str, ...]:
    stored = {entry.version for entry in store.entries()}
    return (*sorted(stored, key=Version), *(["current"] if current else []))


def _order(path: Path) -> tuple[Sequence[int | str], str]:
    room = path.parts[0] if len(path.parts) > 1 else ""
    digits = [int(part) if part.isdigit() else 0 for part in room.split(".")]
    return digits, path.as_posix()
