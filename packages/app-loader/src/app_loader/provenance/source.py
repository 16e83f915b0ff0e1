"""Reading a git working tree. Nothing of the repository is executed: hooks, filters and external diffs stay off.

The difference of a dirty tree holds what a rebuild needs: changed and removed files of the project's folder, and
untracked files of the package itself that git does not ignore. It is written with an index and an object store of its
own, so the repository is only read.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from app_loader.errors import ProvenanceError
from app_loader.settings import Settings, read_settings

_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false")
_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "an API key": re.compile(rb"\bsk-[A-Za-z0-9_-]{20,}"),
    "a password": re.compile(
        rb"(?i)\b(?:password|passwd|secret|api_?key|auth_?token|access_?token)\b\s*[:=]\s*['\"][^'\"\s]{8,}['\"]"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where source comes from; every attribute is None where it is unknown.

    Attributes:
        repository: the remote's URL without credentials, or the local folder where there is no remote.
        commit: hex.
        branch: its name; None when detached.
        dirty: whether the project's folder differs from the commit, or the package has files that git does not know.
        diff: that difference, as ``git apply --binary`` reads it.
    """

    repository: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    diff: bytes | None = None


def find_provenance(package: Path, settings: Settings | None = None) -> Provenance:
    """Return where a package's folder comes from; everything is None outside a working tree or without git.

    Raises:
        ProvenanceError: the difference is larger than the settings allow, or holds what looks like a secret.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or _git(package, "ls-files", "--error-unmatch", ".") is None:
        return Provenance()
    diff = _difference(package, _project_folder(package, Path(top)))
    if diff:
        _check_difference(package, diff, settings if settings is not None else read_settings(package))
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


def _difference(package: Path, project: Path) -> bytes:
    """Return the difference of the project's folder from its commit, untracked files of the package included."""
    objects = _git(package, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "GIT_INDEX_FILE": str(Path(scratch) / "index"),
            "GIT_OBJECT_DIRECTORY": str(Path(scratch) / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects or "",
        }
        (Path(scratch) / "objects").mkdir()
        steps = (
            (project, ("read-tree", "HEAD")),
            (project, ("add", "--update", "--", ".")),
            (package, ("add", "--all", "--", ".")),
        )
        for folder, arguments in steps:
            if _git_bytes(folder, *arguments, environment=environment) is None:
                raise ProvenanceError(str(package), [f"git {' '.join(arguments)} failed in {folder}"], "git status")
        answer = _git_bytes(
            project,
            *(
                "diff",
                "--cached",
                "--binary",
                "--full-index",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
                "--no-renames",
            ),
            *("--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--", "."),
            environment=environment,
        )
    if answer is None:
        raise ProvenanceError(str(package), ["git diff failed"], "git status")
    return answer


def _check_difference(package: Path, diff: bytes, settings: Settings) -> None:
    problems = []
    if len(diff) > settings.max_diff_bytes:
        problems.append(
            f"the tree differs from its commit by {len(diff)} bytes, at most {settings.max_diff_bytes} are recorded; "
            "commit the changes, ignore generated files, or raise max_diff_bytes in mpt.toml"
        )
    if settings.secrets == "refuse":
        problems += [f"{where} holds what looks like {kind}" for where, kind in find_secrets(diff)]
    if problems:
        raise ProvenanceError(
            str(package), problems, "git commit or git stash, then save again   # or secrets = 'record' in mpt.toml"
        )


def find_secrets(diff: bytes) -> list[tuple[str, str]]:
    """Return where added lines hold what looks like a secret: (file and line, kind). Never the secret itself."""
    found = []
    name, line = "?", 0
    for text in diff.split(b"\n"):
        if text.startswith(b"+++ "):
            name = text[6:].decode("utf-8", "replace")
        elif text.startswith(b"@@"):
            match = re.search(rb"\+(\d+)", text)
            line = int(match[1]) if match else 0
        elif text.startswith(b"+"):
            found += [(f"{name}:{line}", kind) for kind, pattern in _SECRETS.items() if pattern.search(text)]
            line += 1
        elif text.startswith(b" "):
            line += 1
    return found


def _project_folder(package: Path, top: Path) -> Path:
    """Return the nearest folder above a package that has a pyproject.toml, else the top of the tree."""
    for folder in (package, *package.parents):
        if (folder / "pyproject.toml").is_file() or folder == top:
            return folder
    return top


def _git(folder: Path, *arguments: str) -> str | None:
    answer = _git_bytes(folder, *arguments)
    return None if answer is None else answer.decode(errors="replace").strip()


def _git_bytes(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
