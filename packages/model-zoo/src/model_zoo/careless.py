"""Checkpoints in the old careless style, to try an audit on: whole objects pickled beside the tensors.

Each function trains nothing and writes one file with `torch.save`: a PPO agent with optimizer and run metadata, a
morphogenetic policy whose seed slot keeps a dataclass with an Enum, a datetime, a deque and an alpha-schedule module in
its extra state, and a whole pickled policy in torch's legacy format. None of them loads under `weights_only=True`; that
is their purpose. New code saves with `app_loader.save_policy` instead.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from policy_interface import DiscreteActions, Feature, GameRules, ImageLayout
from torch import Tensor, nn

from model_zoo.mlp_actor_critic import MlpActorCriticArchitecture
from model_zoo.morphogenetic import AlphaSchedule, MorphogeneticArchitecture, SeedStage

__all__ = [
    "CarelessSeedState",
    "CarelessStage",
    "RunInfo",
    "ScheduleModule",
    "write_blending",
    "write_holding",
    "write_legacy",
    "write_morphogenetic",
    "write_ppo",
]

_SAVED_AT = datetime(2025, 12, 16, 4, 0, 20, 691796, tzinfo=UTC)
_ORDER = (SeedStage.GERMINATED, SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.HOLDING)


class CarelessStage(Enum):
    """A stage as an Enum of numbers: pickled by its class, so the class must be importable to load it."""

    DORMANT = 1
    GERMINATED = 2
    TRAINING = 3
    BLENDING = 4
    HOLDING = 5


class ScheduleModule(nn.Module):
    """A schedule that is a module, pickled whole where its two numbers would do."""

    def __init__(self, steps: int = 100) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("temperature", torch.tensor(1.0))

    def forward(self, step: Tensor) -> Tensor:
        """Return alpha in [0, 1], float32 with the shape of `step`."""
        return (step / self.steps).clamp(0.0, 1.0)


@dataclass
class CarelessSeedState:
    """The state of a seed as a dataclass of whole objects.

    Attributes:
        seed_id: name of the seed.
        stage: the present stage.
        entered_at: when it was entered.
        history: stages and times before, at most a hundred.
        alpha_schedule: how the seed is blended in.
    """

    seed_id: str
    stage: CarelessStage
    entered_at: datetime
    history: deque[tuple[CarelessStage, datetime]] = field(default_factory=lambda: deque(maxlen=100))
    alpha_schedule: ScheduleModule = field(default_factory=ScheduleModule)


@dataclass
class RunInfo:
    """What a training script knew about its run."""

    name: str
    folder: PurePosixPath
    started_at: datetime
    arguments: Namespace


def _image_rules() -> GameRules:
    frame = Feature(name="frame", id=0, shape=(3, 20, 20), dtype="uint8", scale=255.0, low=0, high=255)
    return GameRules(features=(frame,), actions=DiscreteActions.of("left", "right"), layout=ImageLayout())


def _vector_rules() -> GameRules:
    features = (Feature(name="position", id=0, scale=2.4), Feature(name="velocity", id=1, shape=(2,)))
    return GameRules(features=features, actions=DiscreteActions.of("left", "right"))


def _ppo() -> dict[str, Any]:
    torch.manual_seed(0)
    policy = MlpActorCriticArchitecture(layer_widths=(16, 16)).make_policy(_vector_rules())
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4)
    output = policy.act(torch.ones(4, 3), policy.initial_state(4))
    assert output.value is not None
    output.value.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    optimizer.step()
    by_opponent: defaultdict[str, list[float]] = defaultdict(list)
    by_opponent["random"].append(0.75)
    return {
        "model_state_dict": policy.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, step_size=10),
        "run": RunInfo(
            name="ppo",
            folder=PurePosixPath("runs/ppo"),
            started_at=_SAVED_AT,
            arguments=Namespace(lr=3e-4, gamma=0.99),
        ),
        "returns": deque([12.0, 31.5, 200.0], maxlen=100),
        "win_rates": by_opponent,
        "global_step": 4096,
    }


def _morphogenetic(until: SeedStage) -> dict[str, Any]:
    torch.manual_seed(0)
    policy = MorphogeneticArchitecture(channels=(4, 6, 8)).make_policy(_image_rules())
    schedule = AlphaSchedule(curve="sigmoid", steps=100)
    policy.germinate("mid", "bottleneck", step=1, at=_SAVED_AT, width=3, alpha_schedule=schedule)
    history: deque[tuple[CarelessStage, datetime]] = deque([(CarelessStage.DORMANT, _SAVED_AT)], maxlen=100)
    step = 1
    for before, following in pairwise(_ORDER):
        if before is until:
            break
        step += 100
        policy.enter("mid", following, step=step, at=_SAVED_AT)
        history.append((CarelessStage[before.name], _SAVED_AT))
    state = policy.state_dict()
    stage = CarelessStage[until.name]
    for key in [key for key in state if key.endswith("_extra_state")]:
        if "mid" in key:
            careless = CarelessSeedState("seed-1", stage, _SAVED_AT, history, ScheduleModule())
            state[key] = {"seed_state": careless}
    return {"model_state_dict": state, "config": {"lr": 3e-4, "stage": stage}, "saved_at": _SAVED_AT}


def write_ppo(path: str | os.PathLike[str]) -> None:
    """Write a PPO agent with optimizer, a whole scheduler and run metadata."""
    torch.save(_ppo(), Path(path))


def write_morphogenetic(path: str | os.PathLike[str]) -> None:
    """Write a morphogenetic policy whose seed has just germinated."""
    torch.save(_morphogenetic(SeedStage.GERMINATED), Path(path))


def write_blending(path: str | os.PathLike[str]) -> None:
    """Write a morphogenetic policy whose seed is being blended, with its alpha-schedule module."""
    torch.save(_morphogenetic(SeedStage.BLENDING), Path(path))


def write_holding(path: str | os.PathLike[str]) -> None:
    """Write a morphogenetic policy whose seed is held at full strength."""
    torch.save(_morphogenetic(SeedStage.HOLDING), Path(path))


def write_legacy(path: str | os.PathLike[str]) -> None:
    """Write the PPO checkpoint in torch's legacy format (before 1.6), with a whole pickled module in it."""
    content = {**_ppo(), "value_model": nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))}
    torch.save(content, Path(path), _use_new_zipfile_serialization=False)
