"""Stage revisions: the reviewed way from an archive to the code, as far as it goes."""

from __future__ import annotations

from dataclasses import dataclass

from mpt_format import Archive

from app_loader.code import Code
from app_loader.diagnosis.finding import Finding
from app_loader.errors import LOAD_TRAINED, MigrationError
from app_loader.revisions import Migrated, follow
from app_loader.revisions.history import read_known_history
from app_loader.revisions.route import find_route


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the code's revisions say about an archive.

    Attributes:
        findings: each revision on the way, or every reason why there is none.
        skipped: why there was nothing to look at; empty when there was.
        migrated: the archive at the end of the way; None when there is none.
        next_command: what to run before anything else when the history itself is in the way; empty when it is not.
    """

    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    migrated: Migrated | None = None
    next_command: str = ""


def find_way(archive: Archive, code: Code) -> Way:
    """Return the way from an archive to code. Nothing is computed but shapes."""
    try:
        if not read_known_history(code).revisions:
            return Way(skipped=f"{code.distribution} {code.version} declares no revisions")
        route = find_route(archive.manifest, archive.architecture, code, subject=str(archive.path))
        migrated = follow(archive, route) if route.revisions else None
    except MigrationError as error:
        # this is the diagnosis: where it is what would be named, the way ends here
        command = LOAD_TRAINED if error.next_command.startswith("mpt diagnose") else error.next_command
        found = (
            Finding(
                stage="revisions",
                severity="error",
                subject="revisions",
                message=problem,
                next_command=command,
            )
            for problem in error.problems
        )
        return Way(findings=tuple(found), next_command=command)
    how = "undone on the way" if route.backwards else "followed on the way"
    followed = (
        Finding(
            stage="revisions",
            severity="note",
            subject=revision.id,
            message=f"{how}: {revision.summary}",
            new=revision.since,
        )
        for revision in route.revisions
    )
    return Way(findings=tuple(followed), migrated=migrated)
