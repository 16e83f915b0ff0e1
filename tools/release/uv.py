"""Where uv is."""

from __future__ import annotations

import os
import shutil

from tools.release.errors import ReleaseError


def find_uv() -> str:
    """Return the uv that runs this, or the one on the PATH.

    Raises:
        ReleaseError: there is none.
    """
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        raise ReleaseError("uv is not on the PATH; install it: python -m pip install uv")
    return found
