"""Stage format: the container, its manifest and its small members."""

from __future__ import annotations

from collections.abc import Iterator

from mpt_format import MptError

from app_loader.diagnosis.finding import Finding


def judge_format(path: str, error: MptError) -> Iterator[Finding]:
    """Yield every problem of an archive that was refused, each where it lies."""
    for problem in getattr(error, "problems", ()) or (str(error),):
        yield Finding(
            stage="format",
            severity="error",
            subject=str(getattr(problem, "where", path)),
            message=str(getattr(problem, "message", problem)),
            next_command="mpt verify ARCHIVE",
        )
