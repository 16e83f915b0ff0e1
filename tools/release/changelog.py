"""The changelog of one package, written by towncrier from the fragments in its `changes/`."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

from packaging.version import Version

from tools.release.errors import ReleaseError
from tools.release.packages import Package


def write_changelog(package: Package, version: Version, day: date) -> None:
    """Write the version's section into CHANGELOG.md and remove the fragments.

    Raises:
        ReleaseError: towncrier refused.
    """
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--config", "towncrier.toml"]
    command += ["--dir", f"packages/{package.name}", "--name", package.name]
    command += ["--version", str(version), "--date", day.isoformat()]
    done = subprocess.run(command, cwd=package.root, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"towncrier: {done.stdout[-1000:]}{done.stderr[-1000:]}")
