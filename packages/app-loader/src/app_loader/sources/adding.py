"""From a source to an entry: every way of adding, and here wheels at hand and a repository at a commit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app_loader.provenance import build_wheel
from app_loader.settings import Settings
from app_loader.sources.archive import add_archive
from app_loader.sources.companions import ALWAYS_SHARED
from app_loader.sources.repositories import absolute, check_repository
from app_loader.sources.requirement import add_requirement
from app_loader.store import Entry, Store

__all__ = ["ALWAYS_SHARED", "add_archive", "add_repository", "add_requirement", "add_wheels"]


def add_wheels(store: Store, wheels: Sequence[Path], *, sha256: str | None = None, **provenance: Any) -> Entry:
    """Add a unit of wheels that a person named: the main wheel, then its private companions.

    Raises:
        IntegrityError: the main wheel has another digest than the one asked for.
    """
    known = {"source": "wheel", "files": [path.name for path in wheels], **provenance}
    return store.add(wheels, sha256=sha256, provenance=known)


def add_repository(
    store: Store,
    repository: str,
    commit: str,
    settings: Settings,
    *,
    distribution: str | None = None,
    subdirectory: str | None = None,
    companions: Sequence[Path] = (),
    named_by_person: bool = True,
) -> Entry:
    """Build a wheel from a repository at a commit and add it.

    Args:
        store: where to add it.
        repository: a local folder or a URL.
        commit: a commit, tag or branch.
        settings: what may be taken from where.
        distribution: the project's name, to find its folder in the repository.
        subdirectory: its folder.
        companions: wheels of private companions.
        named_by_person: a person typed the repository; a local folder then needs no setting.

    Raises:
        SourceRefusedError: the settings do not allow the repository.
        ProvenanceError: the wheel could not be built.
    """
    check_repository(repository, settings, named_by_person=named_by_person)
    with tempfile.TemporaryDirectory() as scratch:
        built = build_wheel(
            absolute(repository),
            commit,
            Path(scratch) / "build",
            distribution=distribution,
            subdirectory=subdirectory,
            offline=not settings.fetch,
            settings=settings,
        )
        provenance = {
            "source": "repository",
            "repository": built.repository,
            "commit": built.commit,
            "subdirectory": built.subdirectory,
        }
        return store.add([built.path, *companions], provenance=provenance)
