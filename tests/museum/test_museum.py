"""Every exhibit loads with the code that trained it, and computes what was recorded then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from app_loader import LoadedPolicy, Store, load_policy
from mpt_format import open_archive
from policy_interface import Policy
from safetensors import safe_open

from museum.make import record_behaviour

ROOT = Path(__file__).resolve().parents[2]
EXHIBITS = sorted((ROOT / "museum").glob("*/*.mpt"))
LARGEST_BYTES = 300_000

Load = Callable[[Path], LoadedPolicy]


@pytest.fixture(scope="module")
def load(store: Store) -> Load:
    """Return a function that loads an exhibit with its own code, verified in full, in evaluation mode."""

    def load_exhibit(path: Path) -> LoadedPolicy:
        policy = load_policy(path, store=store, verify="full")
        assert policy.module is not None
        policy.module.eval()
        return policy

    return load_exhibit


def _name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def read_record(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return what was recorded beside an exhibit, and the machine it was recorded on."""
    with safe_open(path.with_suffix(".record.safetensors"), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["made"])  # noqa: SIM118


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads: how many share a sum decides its last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_as_recorded(given: dict[str, torch.Tensor], path: Path) -> None:
    """Compare every tensor: bit for bit with the same torch on the same kind of processor, else within rounding."""
    recorded, machine = read_record(path)
    assert given.keys() == recorded.keys()
    same = (machine["torch"], machine["cpu_capability"]) == (
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
    )
    for name, tensor in recorded.items():
        if same or not tensor.is_floating_point():
            assert torch.equal(given[name], tensor), name
        else:
            torch.testing.assert_close(given[name], tensor, atol=1e-5, rtol=1e-5)


def test_every_room_is_complete_and_small() -> None:
    rooms = {path.parent.name for path in EXHIBITS}
    wheels = {wheel.name.split("-")[1] for wheel in (ROOT / "wheelhouse").glob("model_zoo-*.whl")}
    assert rooms == wheels
    names = [{path.stem for path in EXHIBITS if path.parent.name == room} for room in rooms]
    assert set.intersection(*names) >= {"mlp_actor_critic", "conv_actor_critic", "token_recurrent", "morphogenetic"}
    sizes = [path.stat().st_size for path in (ROOT / "museum").glob("[0-9]*/*.*")]
    assert len(sizes) == 2 * len(EXHIBITS)
    assert max(sizes) < LARGEST_BYTES


@pytest.mark.parametrize("path", EXHIBITS, ids=_name)
def test_exhibit_computes_what_was_recorded(path: Path, load: Load) -> None:
    policy = load(path)
    assert (policy.origin.distribution, policy.origin.version) == ("model-zoo", path.parent.name)
    recorded, machine = read_record(path)
    with threads(int(machine["threads"])):
        assert_as_recorded(record_behaviour(policy, recorded["observation"]), path)


def test_versions_called_in_turns_do_not_disturb_each_other(load: Load) -> None:
    paths = [path for path in EXHIBITS if path.stem == "token_recurrent"]
    policies = [load(path) for path in paths]
    assert len({type(policy.module) for policy in policies}) == len(paths)
    records = [read_record(path)[0] for path in paths]
    states = [policy.initial_state(record["action"].shape[1]) for policy, record in zip(policies, records, strict=True)]
    for step in range(len(records[0]["action"])):
        for i, (policy, record) in enumerate(zip(policies, records, strict=True)):
            with torch.no_grad():
                output = policy.act(record["observation"][step], states[i])
            assert torch.equal(output.action, record["action"][step])
            states[i] = output.state


def test_each_exhibit_has_learned_its_task() -> None:
    learned = {}
    for path in EXHIBITS:
        with open_archive(path) as archive:
            training: Any = archive.read_json("training.json")
        played = training.get("evaluation")
        learned[_name(path)] = training["accuracy"] if played is None else fmean(played["returns"])
    floors = {"mlp_actor_critic": 400.0, "mlp_actor_critic_continuous": -700.0}
    too_low = {name: value for name, value in learned.items() if value < floors.get(name.partition("-")[2], 0.8)}
    assert not too_low


def test_seeds_of_the_morphogenetic_exhibit_are_where_they_were(load: Load) -> None:
    for path in (path for path in EXHIBITS if path.stem == "morphogenetic"):
        policy: Policy = load(path)
        assert policy.training_spec.frozen_prefixes == ("slots.early.seed.",)
        module = policy.module
        assert module is not None
        extra = {name: value for name, value in module.state_dict().items() if name.endswith("_extra_state")}
        stages = {name.split(".")[1]: value["stage"] for name, value in extra.items()}
        assert stages == {"early": "fossilised", "mid": "blending", "late": "dormant"}
        frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
        assert frozen
        assert all(name.startswith("slots.early.seed.") for name in frozen)
