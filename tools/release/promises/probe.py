"""Run a probe - a program that prints one JSON document about a release - against an unpacked wheel.

A probe runs in an interpreter of its own, so that two releases never meet, and imports nothing of this repository but
the release that it is pointed at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.release.errors import ReleaseError

_HERE = Path(__file__).parent


def unpack_wheel(wheel: Path, folder: Path) -> Path:
    """Unpack a wheel into a new folder under `folder` and return it, ready to stand on sys.path."""
    target = folder / wheel.stem
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run_probe(name: str, path: Sequence[Path], given: Any = None) -> Any:
    """Run ``probe_NAME.py`` with these folders first on sys.path and return what it printed.

    Args:
        name: which probe.
        path: the unpacked release first, then what it needs.
        given: a document for the probe's standard input.

    Raises:
        ReleaseError: the release cannot even be probed; the message holds the end of the traceback.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", str(_HERE / f"probe_{name}.py"), *map(str, path)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ReleaseError(f"{path[0].name} cannot be probed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)
