"""Where uv is: the one that runs us, the one on the PATH, or the one installed as a package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys


def uv_command() -> list[str]:
    """Return the words that start uv; the plain name where none was found, so that its absence is reported by name."""
    running = os.environ.get("UV")  # set by `uv run`
    if running and shutil.which(running):
        return [running]
    if shutil.which("uv"):
        return ["uv"]
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-P", "-m", "uv"]  # -P: a file uv.py in the folder it is started in is not uv
    return ["uv"]
