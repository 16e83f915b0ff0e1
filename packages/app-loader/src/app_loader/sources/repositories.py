"""Which repositories may be built from: building runs their code, so this is decided before anything is checked out."""

from __future__ import annotations

import shlex
from pathlib import Path

from app_loader.credentials import strip_credentials
from app_loader.errors import SourceRefusedError
from app_loader.provenance.checkout import local_folder
from app_loader.settings import Settings


def check_repository(
    repository: str,
    settings: Settings,
    *,
    named_by_person: bool,
    next_command: str = "mpt zoo add LOCAL_CLONE --commit COMMIT",
) -> None:
    """Check that a repository may be built from.

    Args:
        repository: a folder or a URL.
        settings: what may be taken from where.
        named_by_person: a person typed it; a local folder then needs no setting.
        next_command: what an error advises.

    Raises:
        SourceRefusedError: the settings do not allow it.
    """
    folder = local_folder(repository)
    problems = []
    typed = named_by_person and folder is not None
    if not typed and not settings.allows_repository(repository if folder is None else str(folder)):
        problems.append("it is not among the repositories of mpt.toml")
    if folder is None and not settings.fetch:
        problems.append("fetching is off; it is allowed by fetch = true in mpt.toml")
    if problems:
        raise SourceRefusedError(strip_credentials(repository), problems, next_command)


def rebuild_command(repository: str | None, archive: str) -> str:
    """Return the command that builds an archive's code again; a folder that is here is named, so that it is allowed."""
    command = f"mpt zoo add {shlex.quote(archive)} --from-source"
    if repository is None or local_folder(repository) is None:
        return f"{command} --repository LOCAL_CLONE"
    return f"{command} --repository {shlex.quote(repository)}"


def absolute(repository: str) -> str:
    """Return a folder as it is found from anywhere: it is checked out from within another folder."""
    folder = local_folder(repository)
    return repository if folder is None else str(Path(folder).absolute())
