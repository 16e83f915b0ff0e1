"""A released wheel, built again from its tag and compared with the one in the wheelhouse, byte for byte.

A clone without tags (a shallow one, or one that they were not pushed to) goes by the commit in the wheelhouse's README.
The commit is cloned into a temporary folder, so that nothing uncommitted takes part; SOURCE_DATE_EPOCH is its time.
Source: https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tools.release.build import build_wheel
from tools.release.errors import RebuildError, ReleaseError
from tools.release.git import commit_time, git
from tools.release.packages import get_package
from tools.release.wheelhouse import ReleasedWheel, read_wheelhouse


def rebuild(root: Path, tag: str, wheelhouse: Path) -> ReleasedWheel:
    """Build a released wheel again and return the one that was released, which is equal.

    Args:
        root: the checkout.
        tag: as in ``model-zoo-v0.1.0``.
        wheelhouse: where the released wheel is.

    Raises:
        ReleaseError: no such tag or commit, or no wheel was released under it.
        RebuildError: the bytes differ.
    """
    name, _, version = tag.rpartition("-v")
    released = [wheel for wheel in read_wheelhouse(wheelhouse) if (wheel.name, str(wheel.version)) == (name, version)]
    if not released:
        raise ReleaseError(f"no wheel of {tag} in {wheelhouse}, expected a tag like model-zoo-v0.1.0")
    with tempfile.TemporaryDirectory(prefix="rebuild-") as scratch:
        clone = Path(scratch, "clone")
        git(root, "clone", "--quiet", "--no-checkout", ".", str(clone))
        git(clone, "checkout", "--quiet", tag if git(root, "tag", "--list", tag) else _commit(wheelhouse, tag))
        again = build_wheel(get_package(name, clone).folder, Path(scratch), epoch=commit_time(clone))
        if again.read_bytes() != released[0].path.read_bytes():
            raise RebuildError(tag, released[0].path)
    return released[0]


def _commit(wheelhouse: Path, tag: str) -> str:
    readme = wheelhouse / "README.md"
    found = re.search(rf"`{re.escape(tag)}` \| `([0-9a-f]{{40}})`", readme.read_text() if readme.exists() else "")
    if found is None:
        raise ReleaseError(f"this clone has no tag {tag}, and {readme} does not name its commit; fetch the tags")
    return found[1]
