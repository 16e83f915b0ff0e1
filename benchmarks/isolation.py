"""What isolation costs: importing, calling, many versions, many processes, and the finder on everyone else's imports.

    uv run --no-sync python -m benchmarks.isolation              # every table; a few minutes on two cores
    uv run --no-sync python -m benchmarks.isolation imports      # one of: imports calls versions processes finder

Times of imports are CPU times, so that another load on the machine shows little; each figure is the least of several
fresh processes, plain and isolated taking turns. Each table says what is wanted of it. Nothing here asserts anything
about seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from app_loader.store import Store

ROOT = Path(__file__).parent.parent
ZOO = ROOT / "wheelhouse" / "model_zoo-0.2.0-py3-none-any.whl"

_PLAIN = """
import json, resource, sys, time
sys.path.insert(0, {path!r})
import torch, pydantic, policy_interface, app_loader.store
for name in {before!r}: __import__(name)
start = time.process_time()
import importlib
for name in {names!r}: importlib.import_module(name)
print(json.dumps([time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
_ISOLATED = """
import json, resource, sys, time
import torch, pydantic, policy_interface, app_loader.store
for name in {before!r}: __import__(name)
store = app_loader.store.Store({path!r})
entries = [store.find({distribution!r}, version) for version in {versions!r}]
start = time.process_time()
for entry in entries:
    for name in {names!r}: entry.import_module(name)
print(json.dumps([time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def run(program: str) -> tuple[float, float]:
    """Return seconds and peak memory (MiB) that a fresh process reports."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    seconds, kib = json.loads(done.stdout.splitlines()[-1])
    return seconds, kib / 1024


def minima(rounds: int, *programs: tuple[str, Callable[[], None]]) -> list[tuple[float, float]]:
    """Run programs in turns; each with something to do before it. Return the least time and memory of each."""
    found: list[list[tuple[float, float]]] = [[] for _ in programs]
    for _ in range(rounds):
        for place, (program, before) in enumerate(programs):
            before()
            found[place].append(run(program))
    return [(min(t for t, _ in each), min(m for _, m in each)) for each in found]


def nothing() -> None:
    """Leave caches warm."""


def modules_of(wheel: Path, package: str) -> list[str]:
    """Return the modules of a package in a wheel, the package first."""
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.startswith(f"{package}/") and name.endswith(".py")]
    return sorted(re.sub(r"(/__init__)?\.py$", "", name).replace("/", ".") for name in files)


def imports(scratch: Path, rounds: int, extra: list[Path]) -> None:
    """Importing one version: plain and isolated, with warm and cold bytecode."""
    print("Importing isolated (torch imported before); wanted: warm at most 1.15, cold at most 1.6 times plain.\n")
    print("| package | modules | plain warm | isolated warm | ratio | plain cold | isolated cold | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for wheel in [ZOO, *extra]:
        package = wheel.name.partition("-")[0]
        plain = scratch / f"plain-{package}"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(plain)
        store = Store(scratch / f"store-{package}")
        entry = store.add([wheel])
        names = modules_of(wheel, package) if package == "model_zoo" else [package]
        shared = _shared_imports(plain, names)

        def drop_plain(plain: Path = plain) -> None:
            for cache in plain.rglob("__pycache__"):
                shutil.rmtree(cache)

        def drop_isolated(store: Store = store) -> None:
            shutil.rmtree(store.path / "bytecode", ignore_errors=True)

        plainly = _PLAIN.format(path=str(plain), names=names, before=shared)
        isolated = _ISOLATED.format(
            path=str(store.path), distribution=entry.distribution, versions=[entry.version], names=names, before=shared
        )
        run(plainly), run(isolated)
        warm = minima(rounds, (plainly, nothing), (isolated, nothing))
        cold = minima(rounds, (plainly, drop_plain), (isolated, drop_isolated))
        count = len(modules_of(wheel, package))
        cells = [f"{t * 1000:.1f} ms" for t, _ in (*warm, *cold)]
        ratios = [f"{pair[1][0] / pair[0][0]:.2f}" for pair in (warm, cold)]
        print(
            f"| {package} | {count} | {cells[0]} | {cells[1]} | {ratios[0]} | {cells[2]} | {cells[3]} | {ratios[1]} |"
        )


def _shared_imports(plain: Path, names: list[str]) -> list[str]:
    """Return what the package imports that is not its own, so that both sides find it imported."""
    program = (
        f"import json, sys\nsys.path.insert(0, {str(plain)!r})\n"
        "import torch, pydantic, policy_interface, app_loader.store\n"
        f"before = set(sys.modules)\nimport importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        f"own = {sorted({n.partition('.')[0] for n in names})!r}\n"
        "print(json.dumps([n for n in sys.modules if n not in before and n.partition('.')[0] not in own]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return [name for name in found if "." not in name]


def copies(scratch: Path, count: int) -> tuple[Path, Store, list[str]]:
    """Make `count` versions of the zoo: as plain packages of different names, and as stored wheels."""
    plain, store = scratch / "copies", Store(scratch / "copies-store")
    with zipfile.ZipFile(ZOO) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    versions = []
    for number in range(count):
        for name, data in files.items():
            if name.startswith("model_zoo/"):
                path = plain / name.replace("model_zoo/", f"model_zoo_{number}/", 1)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data.replace(b"model_zoo", f"model_zoo_{number}".encode()))
        version = f"0.2.{number + 100}"
        wheel = scratch / f"model_zoo-{version}-py3-none-any.whl"
        rebuilt = {name.replace("0.2.0", version): data for name, data in files.items() if not name.endswith("RECORD")}
        info = f"model_zoo-{version}.dist-info"
        rebuilt[f"{info}/METADATA"] = rebuilt[f"{info}/METADATA"].replace(
            b"Version: 0.2.0", f"Version: {version}".encode()
        )
        write_wheel(wheel, rebuilt, info)
        store.add([wheel])
        versions.append(version)
    return plain, store, versions


def write_wheel(path: Path, files: dict[str, bytes], info: str) -> None:
    """Pack files into a wheel with a RECORD."""
    import base64
    import hashlib

    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))


def versions(scratch: Path, rounds: int) -> None:
    """Many versions side by side, against as many plain packages."""
    print(
        "Versions of model-zoo 0.2.0 side by side; wanted: memory and time at most 1.1 times as many plain packages.\n"
    )
    print("| versions | plain | isolated | ratio | plain memory | isolated memory | ratio |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    plain, store, all_versions = copies(scratch, 50)
    names = modules_of(ZOO, "model_zoo")
    for count in (0, 1, 10, 50):
        plain_names = [name.replace("model_zoo", f"model_zoo_{n}", 1) for n in range(count) for name in names]
        plainly = _PLAIN.format(path=str(plain), names=plain_names, before=["torch._dynamo"])
        isolated = _ISOLATED.format(
            path=str(store.path),
            distribution="model-zoo",
            versions=all_versions[:count],
            names=names,
            before=["torch._dynamo"],
        )
        run(plainly), run(isolated)
        (plain_s, plain_mib), (own_s, own_mib) = minima(rounds, (plainly, nothing), (isolated, nothing))
        if count == 0:
            base = (plain_mib, own_mib)
            continue
        memory = (plain_mib - base[0], own_mib - base[1])
        print(
            f"| {count} | {plain_s * 1000:.0f} ms | {own_s * 1000:.0f} ms | {own_s / plain_s:.2f} "
            f"| {memory[0]:.1f} MiB | {memory[1]:.1f} MiB | {memory[1] / memory[0]:.2f} |"
        )


_FILLING = """
import os, sys, time
from app_loader.store import Store
import platformdirs
store, wheel, end = sys.argv[1:]
print("ready", flush=True)
sys.stdin.read()
before = time.process_time()
Store(store).add([wheel])
print(time.perf_counter(), time.process_time() - before, flush=True)
os.read(int(end), 1)
"""


def processes(scratch: Path, rounds: int, extra: list[Path]) -> None:
    """Eight processes filling one empty store at once, against one alone.

    All have imported what they need and wait at one pipe. What is measured begins when it is closed and ends when the
    last of them has the entry; its start is the parent's clock, its end a child's, and both are the system's. Who has
    the entry waits at a second pipe: an interpreter that ends needs a processor for as long as adding does, and is no
    part of it.
    """
    print("Filling one empty store; wanted: wall time of eight at once at most 1.5 times one alone, one entry.\n")
    print("| wheel | one, wall | eight, wall | ratio | one, CPU | one that waits, CPU | entries |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for wheel in [ZOO, *extra]:
        walls: dict[int, list[float]] = {1: [], 8: []}
        filling, waiting = [], []
        for turn in range(rounds):
            for count, times in walls.items():
                store = scratch / f"filled-{wheel.stem}-{turn}-{count}"
                wall, cpu = _fill_at_once(store, wheel, count)
                times.append(wall)
                if count == 1:
                    filling += cpu
                else:
                    waiting += sorted(cpu)[:-1]
                entries = len(list((store / "entries").iterdir()))
        one, eight = min(walls[1]), min(walls[8])
        print(
            f"| {wheel.name} | {one * 1000:.0f} ms | {eight * 1000:.0f} ms | {eight / one:.2f} "
            f"| {min(filling) * 1000:.1f} ms | {statistics.median(waiting) * 1000:.1f} ms | {entries} |"
        )


def _fill_at_once(store: Path, wheel: Path, count: int) -> tuple[float, list[float]]:
    """Return the wall seconds until all have the entry, and the CPU seconds of each."""
    gate, opener = os.pipe()
    end, ender = os.pipe()
    command = [sys.executable, "-c", _FILLING, str(store), str(wheel), str(end)]
    jobs = [
        subprocess.Popen(command, stdin=gate, stdout=subprocess.PIPE, text=True, pass_fds=[end]) for _ in range(count)
    ]
    os.close(gate)
    os.close(end)
    for job in jobs:
        assert job.stdout is not None and job.stdout.readline() == "ready\n"
    start = time.perf_counter()
    os.close(opener)
    found = [[float(text) for text in job.stdout.readline().split()] for job in jobs if job.stdout is not None]
    os.close(ender)
    for job in jobs:
        job.communicate()
    return max(moment for moment, _ in found) - start, [cpu for _, cpu in found]


def finder(rounds: int) -> None:
    """What the finder adds to an import that is none of its business."""
    from app_loader.isolated._finder import IsolatedFinder

    find = IsolatedFinder().find_spec
    count = 200_000
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(count):
            find("some_package.some_module", None, None)
        times.append((time.process_time() - start) / count)
    print("The finder on everyone else's imports; wanted: below 1000 ns.\n")
    print("| finder on an unrelated import | per import |\n|---|---:|")
    print(f"| `find_spec` that answers None | {min(times) * 1e9:.0f} ns |")


def calls(scratch: Path, rounds: int) -> None:
    """A forward pass of one module of one version: imported plainly and isolated."""
    program = """
import json, sys, time
import torch
{load}
torch.set_num_threads(1)
torch.manual_seed(0)
net = layers.Net()
x = torch.ones(1, 8)
with torch.no_grad():
    for _ in range(2000): net(x)
    best = []
    for _ in range(15):
        start = time.process_time()
        for _ in range(2000): net(x)
        best.append((time.process_time() - start) / 2000)
print(json.dumps([min(best), 0]))
"""
    source = b"""
import torch
from bench_zoo import consts
from bench_zoo.consts import scale

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x) * scale + consts.shift
"""
    files = {
        "bench_zoo/__init__.py": b"",
        "bench_zoo/consts.py": b"scale = 2.0\nshift = 1.0\n",
        "bench_zoo/layers.py": source,
        "bench_zoo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: bench-zoo\nVersion: 1.0\n",
        "bench_zoo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n",
    }
    wheel = scratch / "bench_zoo-1.0-py3-none-any.whl"
    write_wheel(wheel, files, "bench_zoo-1.0.dist-info")
    store = Store(scratch / "bench-store")
    entry = store.add([wheel])
    plain = f"sys.path.insert(0, {str(entry.path)!r})\nfrom bench_zoo import layers"
    found = f"Store({str(store.path)!r}).find('bench-zoo')"
    own = f"from app_loader.store import Store\nlayers = {found}.import_module('bench_zoo.layers')"
    (plain_s, _), (own_s, _) = minima(
        rounds, (program.format(load=plain), nothing), (program.format(load=own), nothing)
    )
    print("Calling an isolated module; wanted: at most 2 us more than plain.\n")
    print("| forward pass | plain | isolated | difference |\n|---|---:|---:|---:|")
    print(
        f"| Linear(8, 8), batch 1 | {plain_s * 1e6:.2f} us | {own_s * 1e6:.2f} us | {(own_s - plain_s) * 1e6:+.2f} us |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["imports", "calls", "versions", "processes", "finder"]
    parser.add_argument("tables", nargs="*", choices=[*tables, []], help="all of them when none is named")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--wheel", type=Path, action="append", default=[], help="a further wheel to import, repeatable")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for table in given.tables or tables:
            if table == "imports":
                imports(scratch, given.rounds, given.wheel)
            elif table == "calls":
                calls(scratch, min(given.rounds, 5))
            elif table == "versions":
                versions(scratch, min(given.rounds, 5))
            elif table == "processes":
                processes(scratch, given.rounds, given.wheel)
            else:
                finder(given.rounds)
            print()


if __name__ == "__main__":
    main()
