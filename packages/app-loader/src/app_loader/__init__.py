"""Load an .mpt checkpoint with the code it was trained with, or with today's, beside each other in one process.

The names are imported when they are asked for: a child process that only unpickles an isolated class does not pay for
the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app_loader.load import load_policy
    from app_loader.loaded import LoadedPolicy, LoadOrigin
    from app_loader.save import save_policy
    from app_loader.store import Store, import_isolated

__all__ = ["LoadOrigin", "LoadedPolicy", "Store", "import_isolated", "load_policy", "save_policy"]

_HOMES = {
    "LoadOrigin": "app_loader.loaded",
    "LoadedPolicy": "app_loader.loaded",
    "Store": "app_loader.store",
    "import_isolated": "app_loader.store",
    "load_policy": "app_loader.load",
    "save_policy": "app_loader.save",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
