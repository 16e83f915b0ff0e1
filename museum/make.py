"""Fills one version's room of the museum: checkpoints that its own wheel trained, and what they computed then.

    uv run --no-sync python -m museum.make 0.1.0

The zoo is imported isolated from its wheel in `wheelhouse/`. What stands in the museum is frozen: an exhibit that is
already there is refused, never made again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from policy_interface import Policy, PolicyArchitecture, flatten_state
from safetensors.torch import save_file
from torch import Tensor

from museum.exhibits import Exhibit, exhibits

MUSEUM = Path(__file__).resolve().parent
WHEELHOUSE = MUSEUM.parent / "wheelhouse"
SAMPLE_SEED = 11
"""Of the generator that draws the sampled actions of a record."""


def main() -> int:
    """Make what is missing. Exit code: 0 made, 1 nothing to make."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="of model-zoo, with its wheel in wheelhouse/")
    parser.add_argument("--into", type=Path, default=MUSEUM, help="another folder, for trying things out")
    arguments = parser.parse_args()
    room = arguments.into / arguments.version
    missing = [exhibit for exhibit in exhibits() if not (room / f"{exhibit.name}.mpt").exists()]
    if not missing:
        print(f"{room} is complete, and nothing in it is ever made again", file=sys.stderr)
        return 1
    room.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        entry = Store(folder).add([WHEELHOUSE / f"model_zoo-{arguments.version}-py3-none-any.whl"])
        code, zoo = StoredCode(entry), entry.import_module("model_zoo")
        for exhibit in missing:
            started = time.monotonic()
            report = _make(exhibit, code.architecture_class(exhibit.kind), zoo, room)
            print(f"{exhibit.name}: {time.monotonic() - started:.0f} s, {report}", flush=True)
    return 0


def _make(exhibit: Exhibit, architecture: type[PolicyArchitecture], zoo: ModuleType, room: Path) -> str:
    torch.manual_seed(0)
    policy = architecture.from_document(
        {"kind": exhibit.kind, "schema_version": architecture.schema_version, "config": dict(exhibit.config)}
    ).make_policy(exhibit.rules())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # quicker for networks of this size
    training = exhibit.train(policy, zoo)
    torch.set_num_threads(threads)
    assert policy.module is not None
    policy.module.eval()
    record = record_behaviour(policy, exhibit.show(policy))
    save_policy(policy, room / f"{exhibit.name}.mpt", training=training)
    save_file(record, room / f"{exhibit.name}.record.safetensors", metadata={"made": json.dumps(_machine())})
    size_bytes = sum(path.stat().st_size for path in room.glob(f"{exhibit.name}.*"))
    return f"{size_bytes} bytes, {json.dumps(training)}"


@torch.no_grad()
def record_behaviour(policy: Policy, observations: Tensor) -> dict[str, Tensor]:
    """Return what a policy computes on a sequence, every tensor [step, batch, ...].

    Args:
        policy: in evaluation mode.
        observations: [step, batch, ...]; the state is carried from step to step, deterministic actions are taken.

    Returns:
        ``observation``, ``action``, ``sampled_action`` (each step with a fresh generator seeded 11), the declared
        capabilities, and the next state as ``state.PATH``.
    """
    state = policy.initial_state(observations.shape[1])
    steps: dict[str, list[Tensor]] = {"observation": [], "action": [], "sampled_action": []}
    for observation in observations:
        generator = torch.Generator().manual_seed(SAMPLE_SEED)
        sampled = policy.act(observation, state, deterministic=False, generator=generator)
        output = policy.act(observation, state)
        steps["observation"].append(observation)
        steps["action"].append(output.action)
        steps["sampled_action"].append(sampled.action)
        for capability in policy.capabilities:
            steps.setdefault(str(capability), []).append(getattr(output, capability))
        for path, leaf in flatten_state(output.state).items():
            steps.setdefault(f"state.{path}", []).append(leaf)
        state = output.state
    return {name: torch.stack(column).contiguous() for name, column in steps.items()}


def _machine() -> dict[str, str]:
    """Return what decides the last bit of a result."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


if __name__ == "__main__":
    sys.exit(main())
