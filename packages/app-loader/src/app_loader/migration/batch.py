"""Many archives, one after another: what is done is passed over, what fails is told and does not stop the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpt_format import MptError, open_archive

from app_loader.migration.write import MigrationReport, migrate_archive
from app_loader.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """What became of one archive of a batch.

    Attributes:
        source: its path.
        target: the new archive's place.
        status: ``migrated``, ``done before`` or ``failed``.
        report: of the migration; None when it failed or was done before.
        error: why it failed; empty when it did not.
    """

    source: str
    status: str
    target: str = ""
    report: MigrationReport | None = None
    error: str = ""


def migrate_many(
    sources: Sequence[Path], folder: Path, *, code: str, store: Store, unproven: bool = False
) -> Iterator[BatchItem]:
    """Migrate archives into a folder, each in the place that `find_archives` gives it, yielding each as it is finished.

    An archive whose target is there already, with it as the parent, was done before: a batch that was broken off goes
    on where it stopped. Whatever goes wrong with one archive - model code may raise anything - is told and the next one
    begins.

    Args:
        sources: archives, and folders of archives: those keep their places below the folder.
        folder: where the results go.
        code: ``current`` or a version, as for `load_policy`.
        store: the store of wheels.
        unproven: write also what could not be proven.
    """
    for source, place in find_archives(sources):
        target = folder / place
        status, report, why = "failed", None, ""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and target.samefile(source):
                why = "the target is the source itself"
            elif _done(source, target):
                status = "done before"
            elif target.exists():
                why = f"{target} is there and has another parent; --into takes another folder"
            else:
                report = migrate_archive(source, target, code=code, store=store, unproven=unproven)
                status = "migrated"
        except MptError as error:
            why = str(error)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        yield BatchItem(source=str(source), target=str(target), status=status, report=report, error=why)


def find_archives(sources: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return every archive with its place below the folder of results: its name, or its path below a given folder.

    Archives that would have one place keep as much of their paths as tells them apart: ``a/run.mpt`` and ``b/run.mpt``
    keep their folders. A file that is given twice is there once.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for source in sources:
        for path in sorted(_visible(source)) if source.is_dir() else [source]:
            place = path.relative_to(source) if source.is_dir() else Path(source.name)
            found.setdefault(path.resolve(), (path, place))
    places = dict(found.values())
    for together in _sharing(places):
        places |= _apart(together)
    if _sharing(places):  # told apart, one has the place of a third
        places = _apart(list(places))
    return list(places.items())


def _visible(folder: Path) -> Iterator[Path]:
    """Give every archive of a folder but what a writer that was killed has left, whose name begins with a dot."""
    return (path for path in folder.rglob("*.mpt") if not path.name.startswith("."))


def _sharing(places: Mapping[Path, Path]) -> list[list[Path]]:
    """Return the archives that have one place, together."""
    by_place: dict[Path, list[Path]] = {}
    for path, place in places.items():
        by_place.setdefault(place, []).append(path)
    return [paths for paths in by_place.values() if len(paths) > 1]


def _apart(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the path of each below the folder that they all lie in."""
    whole = {path: Path(os.path.normpath(path.absolute())) for path in paths}  # by the names given, links kept
    above = os.path.commonpath([path.parent for path in whole.values()])
    return {path: named.relative_to(above) for path, named in whole.items()}


def _done(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    with open_archive(source) as old, open_archive(target) as new:
        return (new.manifest.lineage or {}).get("parent") == old.manifest.content_digest
