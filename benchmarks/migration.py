"""Diagnoses and migrates an archive of any size and tells the time and the memory of each command.

    python benchmarks/migration.py --gigabytes 10 --folder /var/tmp

The archive is made with model-zoo 0.1.0 and followed to the installed model-zoo. Every command runs in a process of
its own. `resident` is what the kernel calls so, at its highest: it counts pages of the mapped archives, which the
kernel drops when somebody needs the memory. `own` is the part that cannot be dropped (anonymous memory), at its
highest, looked at every 10 milliseconds. `--joined` takes a policy three quarters of which are joined on the way
(query, key and value) instead of one whose tensors only take other names. Needs twice the archive's size on the disk
while it runs, three times with `--joined`; `--only diagnose` leaves out the commands that read all weights, and the
witness.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from policy_interface import DiscreteActions, Feature, GameRules, TokenLayout

WHEEL = Path(__file__).parents[1] / "wheelhouse" / "model_zoo-0.1.0-py3-none-any.whl"
_BLOCK = 1 << 22


def main() -> None:
    """Make an archive, look at it, migrate it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where to work; the system's temporary folder when left out")
    parser.add_argument("--only", choices=["diagnose", "migrate"], help="leave out the other commands")
    parser.add_argument("--joined", action="store_true", help="most tensors are computed, not only renamed")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="migration-", dir=options.folder))
    try:
        store = work / "store"
        path = work / "run.mpt"
        width = round((options.gigabytes * 1e9 / 16) ** 0.5) // 4 * 4
        kind = "token_recurrent" if options.joined else "mlp_actor_critic"
        measured = [
            measure(
                "(making it)",
                [sys.executable, __file__, "--make", str(width), str(path), str(store), kind, options.only or "all"],
            )
        ]
        size = path.stat().st_size
        common = ["--store", str(store)]
        new = work / "new.mpt"
        commands = [("mpt diagnose", ["diagnose", str(path), *common])]
        commands += [
            ("mpt diagnose --behaviour", ["diagnose", str(path), "--behaviour", *common]),
            ("mpt migrate draft", ["migrate", "draft", str(path), "-o", str(work / "revision.py"), *common]),
            ("mpt migrate", ["migrate", "run", str(path), "-o", str(new), "--prove", *common]),
        ]
        wanted = {"diagnose": commands[:1], "migrate": commands[-1:]}.get(options.only, commands)
        for said, arguments in wanted:
            measured.append(measure(said, [sys.executable, "-m", "mpt_format", *arguments]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\narchive of {size / 1e9:.1f} GB, largest tensor {width * width * 4 / 1e9:.2f} GB\n")
    print("| command | exit | seconds | CPU seconds | resident | own |\n|---|---:|---:|---:|---:|---:|")
    for row in measured:
        took = f"{row.seconds:.1f} | {row.cpu_seconds:.1f}"
        print(f"| `{row.said}` | {row.code} | {took} | {megabytes(row.resident_bytes)} | {megabytes(row.own_bytes)} |")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a command took."""

    said: str
    code: int
    seconds: float
    cpu_seconds: float
    resident_bytes: int
    own_bytes: int


def measure(said: str, command: list[str]) -> Measured:
    """Run a command and watch its memory."""
    began = time.perf_counter()
    child = subprocess.Popen(command)
    own = 0
    while True:
        done, status, used = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        own = max(own, anonymous_bytes(child.pid))
        time.sleep(0.01)
    return Measured(
        said=said,
        code=os.waitstatus_to_exitcode(status),
        seconds=time.perf_counter() - began,
        cpu_seconds=used.ru_utime + used.ru_stime,
        resident_bytes=used.ru_maxrss * 1024,
        own_bytes=own,
    )


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that belongs to no file; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def megabytes(size_bytes: int) -> str:
    """Return a size in words."""
    return f"{size_bytes / 1e6:,.0f} MB"


def make(width: int, path: Path, store: Path, kind_name: str, *, witness: bool) -> None:
    """Save a policy whose weights lie in files, so that making it needs no memory either."""
    code = StoredCode(Store(store).add([WHEEL]))
    is_tokens = kind_name == "token_recurrent"
    rules = GameRules(
        features=tuple(Feature(name=f"x{i}", id=i, dtype="uint8" if is_tokens else "float32") for i in range(8)),
        actions=DiscreteActions.of("a", "b"),
        **({"layout": TokenLayout(tokens=2, height=5, width=5)} if is_tokens else {}),
    )
    kind = code.architecture_class(kind_name)
    config: dict[str, Any] = {"hidden_sizes": [width, width, width]}
    if is_tokens:
        config = {"encoder": {"token_size": width, "queries": 1}, "core": {"hidden_size": 16}}
    with torch.device("meta"):
        policy = kind.from_document(
            {"kind": kind.kind, "schema_version": kind.schema_version, "config": config}
        ).make_policy(rules)
    assert policy.module is not None
    block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) / width**0.5
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for i, (name, parameter) in enumerate(list(policy.module.named_parameters())):
            file = Path(folder) / str(i)
            values = torch.from_file(str(file), shared=True, size=parameter.numel(), dtype=torch.float32)
            for start in range(0, parameter.numel(), _BLOCK):
                part = values[start : start + _BLOCK]
                part.copy_(block[: len(part)])
            owner, _, leaf = name.rpartition(".")
            setattr(policy.module.get_submodule(owner), leaf, torch.nn.Parameter(values.view(parameter.shape)))
        save_policy(policy, path, witness=witness)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], witness=sys.argv[6] != "diagnose")
    else:
        main()
