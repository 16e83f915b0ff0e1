"""A folder beside the target for what is written and judged before the target is: gone afterwards, however that ends.

A process that is killed cannot clean up, so the next one that migrates to the same target does: a folder whose lock
nobody holds belongs to the dead.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "lock"


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """Give a new folder on the target's file system; what killed processes left there for this target is removed.

    Raises:
        OSError: the folder beside the target cannot be made.
    """
    beside = target.absolute().parent
    prefix = f".migrating-{target.name}-"
    for left in beside.glob(f"{escape(prefix)}*"):
        try:
            FileLock(left / _LOCK).acquire(blocking=False).lock.release()
        except Timeout:
            continue  # somebody is at work in it
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=beside, prefix=prefix))
    try:
        with FileLock(folder / _LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
