"""A folder beside the target for what is written and judged before the target is: gone afterwards, however that ends.

A process that is killed cannot clean up, so the next one that migrates to the same target does: a folder whose lock
nobody holds belongs to the dead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """Give a new folder on the target's file system; what killed processes left there for this target is removed.

    Raises:
        OSError: the folder beside the target cannot be made.
    """
    beside = target.absolute().parent
    prefix = f".migrating-{target.name}-"
    for left in beside.glob(f"{escape(prefix)}*"):
        held = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # somebody is at work in it
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(held)
    folder = Path(tempfile.mkdtemp(dir=beside, prefix=prefix))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
