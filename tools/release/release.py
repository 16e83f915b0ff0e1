"""The release, step by step, in a worktree of its own; the checkout moves forward only when all of it has passed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from packaging.version import Version

from tools.release.build import build_reproducible_wheel
from tools.release.changelog import write_changelog
from tools.release.errors import BumpError, MissingRevisionError, ReleaseError
from tools.release.git import commit, commit_time, git, scratch_worktree
from tools.release.museum import grow_museum
from tools.release.packages import Package
from tools.release.promises.change import Bump, Change, minimum_version
from tools.release.promises.package import compare_wheels
from tools.release.rehearsal import rehearse
from tools.release.tree import check_tree
from tools.release.uv import find_uv
from tools.release.wheelhouse import ReleasedWheel, add_wheel, find_last_release, list_release

Say = Callable[[str], None]


class Rehearsal(Protocol):
    """Puts a released version to the test in clean environments; see `tools.release.rehearsal.rehearse`."""

    def __call__(self, package: Package, version: Version, *, index: Path, scratch: Path, say: Say) -> None:
        """Raise RehearsalError when the version does not work."""


WHEELHOUSE = "wheelhouse"
MUSEUM = "museum"
ZOO = "model-zoo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that was made, or in a dry run would have been made.

    Attributes:
        package: what was released.
        version: as which version.
        wheel: the wheel in the wheelhouse.
        commit: the commit that the wheel is built from and the tag stands on.
        changes: what changed since the last release, the gravest first.
    """

    package: Package
    version: Version
    wheel: ReleasedWheel
    commit: str
    changes: Sequence[Change]


def release(package: Package, version: Version, *, dry_run: bool, say: Say, rehearsal: Rehearsal = rehearse) -> Release:
    """Release one package: check, bump, changelog, build twice, compare, rehearse, index, tag.

    Args:
        package: what to release.
        version: as which version.
        dry_run: do everything but move the checkout and set the tag.
        say: told what is being done, one line per step.
        rehearsal: how the built wheel is put to the test; raises when it fails.

    Raises:
        ReleaseError: the first step that did not pass; the checkout is as it was.
    """
    say("checking the tree")
    check_tree(package, version, package.root / WHEELHOUSE)
    head = git(package.root, "rev-parse", "HEAD")
    with scratch_worktree(package.root) as root, tempfile.TemporaryDirectory(prefix="wheels-") as out:
        tree = Package(name=package.name, root=root)
        say(f"writing version and changelog of {package.name} {version}")
        _write_release(tree, version)
        released_at = commit(root, f"Release {package.name} {version}", [f"packages/{package.name}", "uv.lock"])
        say("building the wheel twice")
        wheel = build_reproducible_wheel(tree.folder, Path(out), epoch=commit_time(root))
        changes = check_bump(tree, version, wheel, say)
        say("adding the wheel to the wheelhouse and its index")
        added = add_wheel(root / WHEELHOUSE, wheel)
        say("testing the built wheel in a clean environment")
        rehearsal(tree, version, index=root / WHEELHOUSE / "simple", scratch=Path(out), say=say)
        list_release(root / WHEELHOUSE, added, tag=package.tag(version), commit=released_at)
        if package.name == ZOO:
            say("training the museum's room with the wheel")
            grow_museum(root, version)
        grown = [folder for folder in (WHEELHOUSE, MUSEUM) if (root / folder).exists()]
        last = commit(root, f"Add {package.name} {version} to the wheelhouse", grown)
        if not dry_run:
            say(f"tagging {package.tag(version)} and moving the branch forward")
            message = f"{package.name} {version}"
            git(package.root, "merge", "--ff-only", "--quiet", last)
            git(package.root, "tag", "--annotate", "--message", message, package.tag(version), released_at)
        elif git(package.root, "rev-parse", "HEAD") != head:
            raise ReleaseError("the branch moved during the dry run; a real release would have been refused")
    return Release(package=package, version=version, wheel=added, commit=released_at, changes=changes)


def check_bump(package: Package, version: Version, wheel: Path, say: Say) -> Sequence[Change]:
    """Compare a wheel with the last release, which may have the same version, and check that it says what changed.

    A version in the tree may stay the last released one until something breaks: what is merely added raises it at the
    next release.

    Returns:
        What changed, the gravest first.

    Raises:
        BumpError: the version is less than the changes ask for.
        MissingRevisionError: a kind of a zoo changed and no revision that is new since the last release names it.
    """
    last = find_last_release(package.root / WHEELHOUSE, package.name, up_to=version)
    if last is None:
        say("no earlier release: nothing to compare with")
        return ()
    say(f"comparing with {package.name} {last.version}")
    changes = compare_wheels(package.name, last.path, wheel)
    tolerated = Bump.MINOR if version == last.version else Bump.PATCH
    grave = [change for change in changes if change.bump > tolerated]
    minimum = minimum_version(last.version, changes)
    # a pre-release says what its final version would say: 2.0.0rc1 announces 2.0.0
    if grave and Version(version.base_version) < minimum:
        raise BumpError(package.name, str(last.version), str(version), str(minimum), [str(c) for c in grave])
    uncovered = [change.where for change in changes if change.promise == "revision"]
    if uncovered:
        told = [str(c) for c in grave if c.where.replace(".", " ").split()[0] in uncovered]
        raise MissingRevisionError(package.name, str(last.version), uncovered, told)
    return changes


def upload_command(wheel: ReleasedWheel, index: str) -> str:
    """Return the command that uploads a wheel; nothing here ever runs it."""
    return f"uv publish --index {index} {WHEELHOUSE}/{wheel.path.name}"


def _write_release(package: Package, version: Version) -> None:
    package.write_version(version)
    write_changelog(package, version, datetime.now(UTC).date())
    done = subprocess.run([find_uv(), "lock", "--quiet"], cwd=package.root, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"uv lock: {done.stderr[-2000:]}")
