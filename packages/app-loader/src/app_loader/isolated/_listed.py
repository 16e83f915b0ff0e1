"""Which top-level modules a folder offers; what the standard library has is never taken from there."""

from __future__ import annotations

import os
import sys
from pkgutil import iter_modules


def names_in(folder: str) -> dict[str, bool]:
    """Return the names of a folder's modules, and whether each is more than a folder without an `__init__`.

    A folder that is not there offers none.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: False for entry in entries if entry.is_dir()}
    except OSError:
        return {}
    found |= {info.name: True for info in iter_modules([folder])}
    return {name: kind for name, kind in found.items() if name.isidentifier() and name not in sys.stdlib_module_names}
