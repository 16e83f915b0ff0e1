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
    on where
    it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / source.name
        try:
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


def _done(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    with open_archive(source) as old, open_archive(target) as new:
        return (new.manifest.lineage or {}).get("parent") == old.manifest.content_digest
