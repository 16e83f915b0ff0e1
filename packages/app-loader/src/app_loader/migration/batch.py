"""Many archives, one after another: what is done is passed over, what fails is told and does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        status: ``migrated``, ``done before`` or ``failed``.
        report: of the migration; None when it failed or was done before.
        error: why it failed; empty when it did not.
    """

    source: str
    status: str
    report: MigrationReport | None = None
    error: str = ""


def migrate_many(
    sources: Sequence[Path], folder: Path, *, code: str, store: Store, unproven: bool = False
) -> Iterator[BatchItem]:
    """Migrate archives into a folder, each under its own name, yielding each as it is finished.

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
    for source, name in find_archives(sources):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and target.samefile(source):
                yield BatchItem(source=str(source), status="failed", error="the target is the source itself")
                continue
            if _done(source, target):
                yield BatchItem(source=str(source), status="done before")
                continue
            if target.exists():
                yield BatchItem(source=str(source), status="failed", error=f"{target} is there and has another parent")
                continue
            report = migrate_archive(source, target, code=code, store=store, unproven=unproven)
            yield BatchItem(source=str(source), status="migrated", report=report)
        except MptError as error:
            yield BatchItem(source=str(source), status="failed", error=str(error))
        except Exception as error:
            yield BatchItem(source=str(source), status="failed", error=f"{type(error).__name__}: {error}")


def find_archives(sources: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return every archive with its place below the folder of results: its name, or its path below a given folder."""
    found: list[tuple[Path, Path]] = []
    for source in sources:
        if source.is_dir():
            found += [(path, path.relative_to(source)) for path in sorted(source.rglob("*.mpt"))]
        else:
            found.append((source, Path(source.name)))
    return found


def _done(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    with open_archive(source) as old, open_archive(target) as new:
        return (new.manifest.lineage or {}).get("parent") == old.manifest.content_digest
