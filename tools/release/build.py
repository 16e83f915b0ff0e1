"""Reproducible wheels: every wheel is built twice, in two folders, and the bytes must agree."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.release.errors import BuildError
from tools.release.uv import find_uv


def build_wheel(project: Path, out: Path, *, epoch: int) -> Path:
    """Build a project's wheel once.

    Args:
        project: the folder with pyproject.toml.
        out: where the wheel is put.
        epoch: SOURCE_DATE_EPOCH: the time of the commit, in seconds since 1970.

    Raises:
        BuildError: the build backend refused.
    """
    before = set(out.glob("*.whl"))
    command = [find_uv(), "build", "--quiet", "--wheel", "--no-create-gitignore", "--out-dir", str(out), str(project)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    )
    made = set(out.glob("*.whl")) - before
    if done.returncode or len(made) != 1:
        raise BuildError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return made.pop()


def build_reproducible_wheel(project: Path, out: Path, *, epoch: int) -> Path:
    """Build a project's wheel from two copies of it and return the one wheel that both gave.

    Raises:
        BuildError: the build backend refused, or the two wheels differ.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        wheels = []
        for copy in ("first", "second"):
            where = Path(scratch, copy, project.name)
            shutil.copytree(project, where, ignore=shutil.ignore_patterns("__pycache__", "dist", "build"))
            (Path(scratch, copy) / "out").mkdir()
            wheels.append(build_wheel(where, Path(scratch, copy) / "out", epoch=epoch))
        first, second = wheels
        if first.name != second.name or first.read_bytes() != second.read_bytes():
            raise BuildError(f"two builds of {project} differ: {first.name} and {second.name}")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(first, out / first.name))
