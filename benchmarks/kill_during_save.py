"""Kills a saving process at random moments and looks at what stands there.

    python benchmarks/kill_during_save.py --kills 300

A child saves two different policies over one file, in turn and without end; it is killed with SIGKILL after a random
time. After each kill the file must verify in full and hold one of the two, and nothing else may lie in the folder but
what the next save does not see.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpt_format import ArchiveContent, BytesPayload, ModuleState, StoredTensor, open_archive, write_archive

SIZE_BYTES = 20_000_000


def content(fill: int) -> ArchiveContent:
    """Return a policy of 20 MB that holds one byte value."""
    payload = BytesPayload(dtype="U8", shape=(SIZE_BYTES,), data=bytes([fill]) * SIZE_BYTES)
    return ArchiveContent(state=ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")}))


def save_for_ever(path: Path) -> None:
    """Save one, then the other; tell the parent after each."""
    both = [content(1), content(2)]
    while True:
        for one in both:
            write_archive(path, one)
            os.write(1, b".")


def main() -> None:
    """Kill, look, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        save_for_ever(options.child)
    moments = random.Random(options.seed)
    found: collections.Counter[str] = collections.Counter()
    leftovers = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.mpt"
        write_archive(path, content(1))
        for _ in range(options.kills):
            child = subprocess.Popen([sys.executable, __file__, "--child", str(path)], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.read(1)  # it is past its imports and its first save
            time.sleep(moments.uniform(0, 0.25))
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            with open_archive(path) as archive:
                archive.verify("full")
                found[f"policy {archive.read_tensor_bytes('x')[0]}"] += 1
            for entry in Path(folder).iterdir():
                if entry != path:
                    leftovers += 1
                    entry.unlink()
    print(
        f"{options.kills} kills in {time.monotonic() - began:.0f} s: {dict(found)}, torn files 0, leftovers {leftovers}"
    )


if __name__ == "__main__":
    main()
