"""Calling git so that nothing of a repository runs: no hook, no filter, no external difference, no monitor.

Two ways. `ask_git` reads a person's repository with the person's configuration, which says what is ignored and which
URLs are meant. `plain_git` works in a repository of ours, and reads no configuration at all: what it writes is the same
for everybody. Neither sees ``GIT_DIR`` and its like, which a hook or a wrapper leaves in the environment.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from app_loader.child_process import run
from app_loader.credentials import hide_credentials

_SAFE = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.untrackedCache=false"),
    *("-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", "-c", "safe.directory=*"),
)
_PLAIN = ("-c", f"core.attributesFile={os.devnull}", "-c", f"core.excludesFile={os.devnull}")
_USERS = ("GIT_CONFIG", "GIT_SSH", "GIT_SSL", "GIT_ASKPASS", "GIT_PROXY", "GIT_HTTP", "GIT_CURL", "GIT_TRACE")
_TIMEOUT_S = 120.0


class GitError(Exception):
    """Git refused, was not found or took too long.

    Attributes:
        said: its last lines, without credentials.
    """

    def __init__(self, said: list[str]) -> None:
        self.said = said
        super().__init__(said)

    def __str__(self) -> str:
        return "; ".join(self.said)


def ask_git(folder: Path, *arguments: str, given: bytes | None = None, timeout_s: float = _TIMEOUT_S) -> bytes:
    """Return git's answer in a person's repository; it writes nothing there.

    Raises:
        GitError: it gave none.
    """
    environment = {**_environment(_USERS), "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    return _run(folder, (*_SAFE, *arguments), environment, given, timeout_s=timeout_s)


def plain_git(
    folder: Path,
    *arguments: str,
    given: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
) -> bytes:
    """Return git's answer without any configuration but that of the repository at hand, which is ours.

    Raises:
        GitError: it gave none.
    """
    settings = {
        **_environment(()),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **(environment or {}),
    }
    return _run(folder, (*_SAFE, *_PLAIN, *arguments), settings, given, output=output)


def _environment(kept: tuple[str, ...]) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(kept)}
    return {**found, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}


def _run(
    folder: Path,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    given: bytes | None,
    *,
    output: IO[bytes] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> bytes:
    try:
        done = run(
            ["git", *arguments], folder, environment=environment, timeout_s=timeout_s, given=given, output=output
        )
    except subprocess.TimeoutExpired:
        raise GitError([f"git took longer than {timeout_s:g} seconds"]) from None
    except OSError as error:
        raise GitError([f"git cannot be run: {error}"]) from error
    if done.returncode:
        said = hide_credentials(done.stderr.decode(errors="replace")).strip().splitlines()
        raise GitError([line for line in said[-6:] if line.strip()] or [f"git ended with {done.returncode}"])
    return done.stdout
