"""Times `load_policy` of a large policy end to end, and what of it is not the building of the module.

    python benchmarks/load_policy.py --width 8600

A width of 8600 gives 1.2 GB. Building the same module on `meta` is timed alone, as is safetensors' `load_file` of the
same tensors; the first load, which imports the model code, is told apart.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from app_loader import Store, load_policy, save_policy
from app_loader.build import build_on_meta, read_architecture
from app_loader.code import StoredCode
from app_loader.load import read_rules
from mpt_format import open_archive
from policy_interface import DiscreteActions, Feature, GameRules
from safetensors.torch import load_file, save_file

WHEEL = Path(__file__).parents[1] / "wheelhouse" / "model_zoo-0.2.0-py3-none-any.whl"


def main() -> None:
    """Make a policy, save it, load it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=8600)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path, raw = Path(folder) / "run.mpt", Path(folder) / "run.safetensors"
        store = Store(Path(folder) / "store")
        code = StoredCode(store.add([WHEEL]))
        make(code, options.width, path, raw)
        before = resident_mib()
        first, _ = timed(lambda: load_policy(path, store=store), 1)
        grown = resident_mib() - before
        loads, median = timed(lambda: load_policy(path, store=store), options.rounds)
        with open_archive(path) as archive:
            document, rules = archive.architecture, read_rules(archive)
        build, _ = timed(
            lambda: build_on_meta(read_architecture(code, document), rules, subject="benchmark"), options.rounds
        )
        plain, _ = timed(lambda: load_file(raw), options.rounds)
        size = path.stat().st_size
    print(f"\nload_policy of {size / 1e6:,.0f} MB in {len(archive.tensors)} tensors\n")
    print("| | fastest |\n|---|---:|")
    print(f"| the first load, model code imported | {first * 1e3:,.1f} ms |")
    print(f"| a load | {loads * 1e3:,.1f} ms (median {median * 1e3:,.1f}) |")
    print(f"| building the module on `meta` alone | {build * 1e3:,.1f} ms |")
    print(f"| so beyond building | {(loads - build) * 1e3:,.1f} ms |")
    print(f"| `safetensors.torch.load_file` | {plain * 1e3:,.1f} ms |")
    print(f"\nresident memory grew by {grown:.1f} MiB with the first load")


def make(code: StoredCode, width: int, path: Path, raw: Path) -> None:
    """Save a policy of random weights; the model's own initialisation would take minutes at this width."""
    rules = GameRules(
        features=tuple(Feature(name=f"x{i}", id=i, dtype="float32") for i in range(8)),
        actions=DiscreteActions.of("a", "b"),
    )
    kind = code.architecture_class("mlp_actor_critic")
    document = {
        "kind": "mlp_actor_critic",
        "schema_version": kind.schema_version,
        "config": {"layer_widths": [width, width, width]},
    }
    with torch.device("meta"):
        policy = kind.from_document(document).make_policy(rules)
    assert policy.module is not None
    policy.module.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.normal_(std=0.01)
    save_policy(policy, path, witness=False)
    save_file(dict(policy.module.state_dict()), raw)


def timed(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the fastest and the median seconds of a call."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
        del result
    return min(seconds), statistics.median(seconds)


def resident_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    main()
