"""How long the audit takes and what memory it needs: a million objects, ten gigabytes of tensors, many small files.

    uv run --no-sync python benchmarks/audit.py

Writes its files into a temporary folder; the large checkpoint is sparse and takes a few kilobytes of disk. Prints a
table and asserts nothing about seconds.
"""

from __future__ import annotations

import datetime
import os
import pickle
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

_MANY_FILES = 20_000


def write_many_objects(path: Path) -> None:
    """A pickle of a million datetimes, and of a million dicts."""
    at = datetime.datetime(2025, 1, 1)
    objects = [at + datetime.timedelta(seconds=n) for n in range(1_000_000)]
    path.write_bytes(pickle.dumps(objects, protocol=2))


def write_many_dicts(path: Path) -> None:
    """A pickle of a million small dicts."""
    path.write_bytes(pickle.dumps([{"step": n, "loss": n / 7} for n in range(1_000_000)], protocol=2))


def write_many_tuples(path: Path) -> None:
    """A pickle of a million small tuples, in the protocol of Python 3.8 and newer."""
    path.write_bytes(pickle.dumps([(n, n / 7, "step") for n in range(1_000_000)], protocol=4))


def write_sparse(path: Path, size_bytes: int) -> None:
    """A torch zip whose only tensor has so many bytes, all of them a hole in the file."""
    count = size_bytes // 4
    key = b"X\x07\x00\x00\x00storage"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + key + b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"\x8a\x08" + struct.pack("<q", count) + b"tQK\x00\x8a\x08" + struct.pack("<q", count) + b"\x85K\x01\x85\x89"
        b"ccollections\nOrderedDict\n)RtR"
    )
    pickled = b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s."
    members = [(b"archive/data.pkl", pickled, len(pickled)), (b"archive/data/0", b"", size_bytes)]
    directory = b""
    with path.open("wb") as file:
        for name, data, size in members:
            offset = file.tell()
            crc = zlib.crc32(data) if data else 0
            large = struct.pack("<HHQQ", 1, 16, size, size)
            file.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 33, crc, *[0xFFFFFFFF] * 2, len(name), 20))
            file.write(name + large + data)
            file.seek(size - len(data), 1)
            large = struct.pack("<HHQQQ", 1, 24, size, size, offset)
            fields = (45, 45, 0, 0, 0, 33, crc, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(large), 0, 0, 0, 0, 0xFFFFFFFF)
            directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + name + large
        at = file.tell()
        file.write(directory)
        end = file.tell()
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, len(directory), at))
        file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def peak_kilobytes() -> int:
    """The most memory that this program has had, from Linux; `ru_maxrss` would count its parent as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def audit_one(path: str) -> None:
    """Audit a file in this process and print seconds, memory and verdict."""
    from mpt_format.audit import audit_checkpoint

    before = peak_kilobytes()
    began = time.process_time()
    audit = audit_checkpoint(path)
    spent = time.process_time() - began
    after = peak_kilobytes()
    print(f"{spent:.3f} s | {(after - before) / 1024:.0f} MB | {audit.verdict} | {audit.totals['calls']} calls")


def time_command(path: Path) -> float:
    """Processor time of the command from its start to its end, the least of several runs."""
    best = float("inf")
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "mpt_format", "audit", str(path)], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def write_folder(folder: Path, count: int) -> None:
    """So many small checkpoints, a thousand in a folder."""
    write_sparse(folder / "small.pt", 64)
    content = (folder / "small.pt").read_bytes()
    for at in range(1, count):
        below = folder / f"{at // 1000:03}"
        below.mkdir(exist_ok=True)
        (below / f"{at}.pt").write_bytes(content)


def time_folder(folder: Path, jobs: int) -> str:
    """Processor time and time of waiting of the command, over all files of a folder."""
    command = [sys.executable, "-m", "mpt_format", "audit", str(folder), "--json", "--jobs", str(jobs)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    waited, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} s | {waited:.1f} s"


def main() -> int:
    """Write the files, and audit each in a process of its own."""
    if len(sys.argv) > 1:
        audit_one(sys.argv[1])
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_many_objects(folder / "million_datetimes.pkl")
        write_many_dicts(folder / "million_dicts.pkl")
        write_many_tuples(folder / "million_tuples.pkl")
        write_sparse(folder / "10MB.pt", 10 << 20)
        write_sparse(folder / "10GB.pt", 10 << 30)
        print("file | processor time | memory on top | verdict | calls")
        print("---|---|---|---|---")
        for path in sorted(folder.iterdir()):
            done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=True)
            print(f"{path.name} | {done.stdout.strip()}")
        print()
        print(f"`mpt audit 10MB.pt`, the whole process: {time_command(folder / '10MB.pt'):.2f} s of the processor")
        many = folder / "many"
        many.mkdir()
        write_folder(many, _MANY_FILES)
        print(f"\n{_MANY_FILES} small checkpoints in folders | processor time | time\n---|---|---")
        for jobs in sorted({1, os.cpu_count() or 1}):
            print(f"`--jobs {jobs}` | {time_folder(many, jobs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
