"""Builds a released wheel from its commit, byte for byte, and compares it with the one in the wheelhouse.

    uv run --no-sync python scripts/rebuild_wheel.py model-zoo-v0.1.0            # build and compare
    uv run --no-sync python scripts/rebuild_wheel.py model-zoo-v0.1.0 --add      # build a new release into wheelhouse/

The commit is cloned into a temporary folder, so that nothing uncommitted takes part; SOURCE_DATE_EPOCH is the commit's
time. A wheel that is already there is never overwritten.
Source: https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELHOUSE = ROOT / "wheelhouse"


def build_wheel(revision: str, distribution: str, folder: Path) -> Path:
    """Build the distribution's wheel as it was at a revision (a tag or a commit) and return its path."""
    clone = folder / "clone"
    _run("git", "clone", "--quiet", "--no-checkout", str(ROOT), str(clone))
    _run("git", "-C", str(clone), "checkout", "--quiet", revision)
    epoch = _run("git", "-C", str(clone), "log", "-1", "--format=%ct").strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    environment.pop("VIRTUAL_ENV", None)
    command = ("uv", "build", "--quiet", "--package", distribution, "--wheel", "--out-dir", str(folder / "dist"))
    subprocess.run(command, cwd=clone, env=environment, check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def main() -> int:
    """Build, print the digest, compare or add. Exit code: 0 equal or added, 1 different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="as in model-zoo-v0.1.0")
    parser.add_argument("--commit", help="build this commit instead of the tag's")
    parser.add_argument("--add", action="store_true", help="put a new release's wheel into wheelhouse/")
    arguments = parser.parse_args()
    distribution = arguments.tag.rpartition("-v")[0]
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(arguments.commit or arguments.tag, distribution, Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        print(f"{digest}  {wheel.name}")
        kept = WHEELHOUSE / wheel.name
        if not kept.exists():
            if not arguments.add:
                print(f"not in the wheelhouse; add it with --add: {kept}", file=sys.stderr)
                return 1
            shutil.copyfile(wheel, kept)
        if kept.read_bytes() != wheel.read_bytes():
            print(f"differs from {kept}; a released wheel never changes: raise the version", file=sys.stderr)
            return 1
    return 0


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
