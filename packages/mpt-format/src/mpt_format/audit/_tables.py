"""The text tables that this package ships.

They are asked of the package's own loader: `importlib.resources` does the same and imports zipfile and tempfile first,
which is a tenth of what `mpt audit` takes to start.
"""

from __future__ import annotations

__all__ = ["read_table"]

import pkgutil


def read_table(name: str) -> str:
    """The text of a file that lies beside this module."""
    content = pkgutil.get_data(__package__, name)
    assert content is not None  # every loader of a package with data files has get_data
    return content.decode()
