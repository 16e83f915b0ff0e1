"""Reading a git working tree. Nothing of the repository is executed: hooks, filters and external diffs stay off."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where source comes from; every attribute is None where it is unknown.

    Attributes:
        repository: the remote's URL without credentials, or the local folder where there is no remote.
        commit: hex.
        branch: its name; None when detached.
        dirty: whether the project's folder differs from the commit.
        diff: ``git diff --binary`` of that difference.
    """

    repository: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    diff: bytes | None = None


def find_provenance(package: Path) -> Provenance:
    """Return where a package's folder comes from; everything is None outside a working tree or without git."""
    top = _git(package, "rev-parse", "--show-toplevel")
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or _git(package, "ls-files", "--error-unmatch", ".") is None:
        return Provenance()
    project = _project_folder(package, Path(top))
    diff = _git_bytes(project, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".") or b""
    remote = _git(package, "config", "--get", "remote.origin.url")
    return Provenance(
        repository=strip_credentials(remote) if remote else top,
        commit=commit,
        branch=_git(package, "symbolic-ref", "--quiet", "--short", "HEAD"),
        dirty=bool(diff),
        diff=diff or None,
    )


def strip_credentials(url: str) -> str:
    """Return a remote's URL without user name, password or token; scp-like ``git@host:path`` is kept."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        return url
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, f"{parts.hostname}{port}", parts.path, "", ""))


def _project_folder(package: Path, top: Path) -> Path:
    """Return the nearest folder above a package that has a pyproject.toml, else the top of the tree."""
    for folder in (package, *package.parents):
        if (folder / "pyproject.toml").is_file() or folder == top:
            return folder
    return top


def _git(folder: Path, *arguments: str) -> str | None:
    answer = _git_bytes(folder, *arguments)
    return None if answer is None else answer.decode(errors="replace").strip()


def _git_bytes(folder: Path, *arguments: str) -> bytes | None:
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
