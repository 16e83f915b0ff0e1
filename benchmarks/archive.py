"""Times the archive against its peers, and prints Markdown tables with ratios.

    python benchmarks/archive.py open --size 200
    python benchmarks/archive.py save --size 1200
    python benchmarks/archive.py sizes
    python benchmarks/archive.py counts
    python benchmarks/archive.py memory --size 1200
    python benchmarks/archive.py inspect

Rounds go through all peers in turn, so that whatever else the machine does hits them alike; the table shows the fastest
and the median round. Peers whose package is not installed are left out. Nothing is asserted about time; that all
peers give the same bits is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from archive_peers import PEERS, Peer, make_module
from sparse_archive import write_sparse_archive, write_sparse_safetensors

MB = 1_000_000


def main() -> None:
    """Run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["open", "save", "sizes", "counts", "memory", "inspect"])
    parser.add_argument("--size", type=int, default=200, help="megabytes")
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run = {
            "open": open_all,
            "save": save_all,
            "sizes": sizes,
            "counts": counts,
            "memory": memory,
            "inspect": inspect,
        }
        run[options.what](Path(folder), options)


def open_all(folder: Path, options: argparse.Namespace) -> None:
    """Time the opening of all tensors, and opening plus touching every page."""
    module = make_module(options.size * MB, options.tensors)
    expected = module.state_dict()
    paths = {peer.name: folder / f"run.{peer.suffix}" for peer in PEERS}
    for peer in PEERS:
        if not paths[peer.name].exists():
            peer.save(module, paths[peer.name])
        found = peer.load(paths[peer.name])
        assert found.keys() == expected.keys(), peer.name
        for key, tensor in expected.items():
            assert torch.equal(found[key].view(torch.int32), tensor.view(torch.int32)), (peer.name, key)
    print(f"\nOpening {options.size} MB in {options.tensors} tensors, warm cache, all bit-equal\n")
    table(time_rounds({peer.name: lambda peer=peer: peer.load(paths[peer.name]) for peer in PEERS}, options.rounds))  # type: ignore[misc]
    print("\nThe same, and one byte of every page read\n")

    def touch(peer: Peer) -> object:
        return [tensor.view(torch.uint8)[::4096].sum() for tensor in peer.load(paths[peer.name]).values()]

    table(time_rounds({peer.name: lambda peer=peer: touch(peer) for peer in PEERS}, options.rounds))  # type: ignore[misc]


def save_all(folder: Path, options: argparse.Namespace) -> None:
    """Time saving; the archive hashes, checks and flushes to the disk, the others do not."""
    import safetensors.torch

    module = make_module(options.size * MB, options.tensors)

    def flushed(path: Path) -> None:
        safetensors.torch.save_file(dict(module.state_dict()), path)
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def save(peer: Peer) -> None:
        path = folder / f"run.{peer.suffix}"
        peer.save(module, path)

    calls: dict[str, Callable[[], object]] = {
        peer.name.replace("torch.load(mmap=True)", "torch.save"): lambda peer=peer: save(peer)  # type: ignore[misc]
        for peer in PEERS
        if peer.name not in ("torch.load", "ancestor: deflated zip")
    }
    calls["safetensors, then fsync"] = lambda: flushed(folder / "run.safetensors")
    print(f"\nSaving {options.size} MB in {options.tensors} tensors over the file of the round before\n")
    table(time_rounds(calls, options.rounds))
    path = folder / "run.mpt"
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "from archive_peers import make_module\n"
        "from mpt_format import ArchiveContent, collect_state, write_archive\n"
        f"module = make_module({options.size * MB}, {options.tensors})\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak(); write_archive(sys.argv[2], ArchiveContent(state=collect_state(module)))\n"
        "print(f'peak extra memory while saving: {peak() - before:.0f} MiB')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(path)], check=True)


def sizes(folder: Path, options: argparse.Namespace) -> None:
    """Time opening of sparse files from 1 MB to 8 GB."""
    by_name = {peer.name: peer for peer in PEERS}
    print(f"\nOpening {options.tensors} tensors of sparse files\n")
    print("| size | safetensors | mpt | ratio |\n|---:|---:|---:|---:|")
    for megabytes in (1, 10, 100, 1000, 8000):
        each = megabytes * MB // options.tensors
        write_sparse_archive(folder / "s.mpt", {f"t{i}": each for i in range(options.tensors)})
        write_sparse_safetensors(folder / "s.safetensors", {f"t{i}": each for i in range(options.tensors)})
        times = time_rounds(
            {
                "safetensors": lambda: by_name["safetensors"].load(folder / "s.safetensors"),
                "mpt": lambda: by_name["mpt"].load(folder / "s.mpt"),
            },
            options.rounds * 3,
        )
        print(f"| {megabytes} MB {row(times['safetensors'], times['mpt'])}")


def counts(folder: Path, options: argparse.Namespace) -> None:
    """Time opening and saving of many small tensors."""
    by_name = {peer.name: peer for peer in PEERS}
    chosen = [by_name[name] for name in ("safetensors", "mpt", "torch.load(mmap=True)")]
    print("\nOpening and saving tensors of 4 kB\n")
    print("| tensors | open: safetensors | mpt | ratio | torch mmap | save: safetensors | mpt | ratio |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for count in (10, 100, 1000, 10_000, 100_000):
        module = make_module(4096 * count, count)
        rounds = options.rounds if count < 100_000 else 3
        saved = time_rounds(
            {
                peer.name: lambda peer=peer, module=module: peer.save(module, folder / f"c.{peer.suffix}")
                for peer in chosen
            },  # type: ignore[misc]
            rounds,
        )
        opened = time_rounds(
            {peer.name: lambda peer=peer: peer.load(folder / f"c.{peer.suffix}") for peer in chosen},  # type: ignore[misc]
            rounds,
        )
        left = row(opened["safetensors"], opened["mpt"]).rstrip("|")
        mmap = f"| {min(opened['torch.load(mmap=True)']) * 1e3:,.2f} ms "
        print(f"| {count:,} {left}{mmap}{row(saved['safetensors'], saved['mpt'])}")


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Show what opening costs in memory, and that processes share the pages."""
    path = folder / "m.mpt"
    next(peer for peer in PEERS if peer.name == "mpt").save(make_module(options.size * MB, options.tensors), path)
    code = (
        "import sys, torch\n"
        "from mpt_format import open_archive\n"
        "def kib(name):\n"
        "    text = open('/proc/self/smaps_rollup').read()\n"
        "    return int(text.split(name + ':')[1].split()[0])\n"
        "torch.zeros(10).sum()\n"
        "start = kib('Rss')\n"
        "with open_archive(sys.argv[1]) as archive:\n"
        "    tensors = archive.read_tensors()\n"
        "opened = kib('Rss')\n"
        "total = sum(int(t.view(torch.uint8)[::4096].sum()) for t in tensors.values())\n"
        "print(f'opened: +{(opened - start) / 1024:.1f} MiB', flush=True)\n"
        "input()\n"
        'print(f\'{kib("Rss") / 1024:.0f} {kib("Pss") / 1024:.0f}\', flush=True)\n'
        "input()\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    pipes = [(child.stdin, child.stdout) for child in children]
    print(f"\n{options.size} MB, four processes\n")
    opened = [stdout.readline().strip() for _, stdout in pipes if stdout]
    for stdin, _ in pipes:
        assert stdin is not None
        stdin.write("\n")
        stdin.flush()
    measured = [tuple(map(int, stdout.readline().split())) for _, stdout in pipes if stdout]
    for child in children:
        child.communicate("\n")
    print("before a tensor is touched:", ", ".join(opened))
    print("every page touched: resident", ", ".join(f"{rss} MiB" for rss, _ in measured), end="; ")
    print(f"together (proportional) {sum(pss for _, pss in measured)} MiB")


def inspect(folder: Path, options: argparse.Namespace) -> None:
    """Time the command in a fresh process."""
    print("\nA fresh process\n\n| | " + " | ".join(("1 MB", "200 MB", "8 GB")) + " |\n|---|---:|---:|---:|")
    for megabytes in (1, 200, 8000):
        each = megabytes * MB // options.tensors
        write_sparse_archive(folder / f"{megabytes}.mpt", {f"t{i}": each for i in range(options.tensors)})
    for arguments in (["inspect"], ["inspect", "--json"], ["verify", "--quick"]):
        cells = []
        for megabytes in (1, 200, 8000):
            command = [shutil.which("mpt") or "mpt", *arguments, str(folder / f"{megabytes}.mpt")]
            times = time_rounds({"x": lambda command=command: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)}, options.rounds * 2)["x"]  # type: ignore[misc]  # fmt: skip  # noqa: E501
            cells.append(f"{min(times) * 1e3:.0f} ms ({statistics.median(times) * 1e3:.0f})")
        print(f"| `mpt {' '.join(arguments)}` | {' | '.join(cells)} |")
    bare = time_rounds(
        {"x": lambda: subprocess.run([sys.executable, "-c", "import click"], check=True)}, options.rounds
    )
    print(f"\n`python -c 'import click'` alone: {min(bare['x']) * 1e3:.0f} ms")


def time_rounds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Call each in turn, so many rounds; return the seconds by name."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            result = call()
            times[name].append(time.perf_counter() - began)
            del result
    return times


def table(times: dict[str, list[float]]) -> None:
    """Print fastest, median and the ratio of the fastest to safetensors'."""
    print("| | fastest | median | of safetensors |\n|---|---:|---:|---:|")
    base = min(times["safetensors"])
    for name, seconds in times.items():
        fastest, median = min(seconds) * 1e3, statistics.median(seconds) * 1e3
        print(f"| {name} | {fastest:,.2f} ms | {median:,.2f} ms | {min(seconds) / base:,.2f} |")


def row(base: list[float], ours: list[float]) -> str:
    """Return the cells of two series and the ratio of their fastest rounds."""
    return f"| {min(base) * 1e3:,.2f} ms | {min(ours) * 1e3:,.2f} ms | {min(ours) / min(base):.2f} |"


if __name__ == "__main__":
    main()
