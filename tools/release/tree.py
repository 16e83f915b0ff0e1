"""Is the checkout in a state to be released from? Every problem is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from tools.release.errors import TreeError
from tools.release.git import git
from tools.release.packages import Package
from tools.release.wheelhouse import find_last_release


def check_tree(package: Package, version: Version, wheelhouse: Path) -> None:
    """Check what must be so before a release begins.

    Uncommitted work elsewhere does no harm: the release is made in a worktree of HEAD.

    Raises:
        TreeError: with everything that is in the way.
    """
    problems = list(_problems(package, version, wheelhouse))
    if problems:
        raise TreeError(problems)


def _problems(package: Package, version: Version, wheelhouse: Path) -> Iterator[str]:
    folder = f"packages/{package.name}"
    dirty = git(package.root, "status", "--porcelain", "--", folder, wheelhouse.name, "pyproject.toml", "uv.lock")
    if dirty:
        listed = ", ".join(line[3:] for line in dirty.splitlines()[:8])
        yield f"uncommitted changes: {listed}; commit them or put them away"
    tag = package.tag(version)
    if git(package.root, "tag", "--list", tag):
        yield f"the tag {tag} exists already; release a new version"
    last = find_last_release(wheelhouse, package.name)
    if last is not None and version <= last.version:
        yield f"{version} does not follow {last.version}, the last release in {wheelhouse.name}/"
    if not list((package.folder / "changes").glob("*.md")):
        yield f'no changelog fragment in {folder}/changes/; write one: just fragment {package.name} TOPIC fix "..."'
