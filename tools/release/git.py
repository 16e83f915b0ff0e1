"""The few git commands that a release needs, and the worktree in which it is made."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.release.errors import ReleaseError


def git(root: Path, *arguments: str) -> str:
    """Run git in a checkout and return what it printed, without the last line break.

    Raises:
        ReleaseError: git refused.
    """
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.rstrip("\n")


def commit_time(root: Path, revision: str = "HEAD") -> int:
    """Return a commit's time in seconds since 1970: the SOURCE_DATE_EPOCH of its wheels."""
    return int(git(root, "log", "-1", "--format=%ct", revision))


def commit(root: Path, message: str, paths: Sequence[str]) -> str:
    """Commit everything under these paths and return the commit's id."""
    git(root, "add", "--all", "--", *paths)
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


@contextmanager
def scratch_worktree(root: Path) -> Iterator[Path]:
    """Give a worktree of HEAD on no branch, and take it away afterwards.

    The release is made in it, so that uncommitted work cannot enter a wheel and a failure leaves nothing behind.
    """
    parent = Path(tempfile.mkdtemp(prefix="release-"))
    folder = parent / "tree"
    git(root, "worktree", "add", "--quiet", "--detach", str(folder), "HEAD")
    try:
        yield folder
    finally:
        git(root, "worktree", "remove", "--force", str(folder))
        shutil.rmtree(parent, ignore_errors=True)
