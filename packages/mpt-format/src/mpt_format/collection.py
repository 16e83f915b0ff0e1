"""Making many small objects without the garbage collector looking at all of them again and again.

The collector runs after every so many new containers and looks, now and then, at everything that the process holds;
with torch's modules around, that costs more than parsing ten thousand tensor records.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the collector for as long as the block takes; nothing happens where it was off already."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
