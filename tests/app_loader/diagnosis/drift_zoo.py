"""A zoo of one kind whose config and rules drift: the source is changed by hand, one thing at a time."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from click.testing import CliRunner, Result
from history_zoo import pack_files
from mpt_format.cli import mpt
from policy_interface import DiscreteActions, Feature, GameRules

SOURCE = """
from typing import Annotated, ClassVar, Literal
import torch
from policy_interface import Capability, ComponentConfig, Policy, PolicyArchitecture, PolicyOutput
from pydantic import Field
from torch import nn

class Conv(ComponentConfig):
    kind: Literal["conv"] = "conv"
    channels: int = 4

class Dense(ComponentConfig):
    kind: Literal["dense"] = "dense"
    units: int = 6
    bias: bool = True

class Head(ComponentConfig):
    depth: int = 1
    gain: float = 1.0

class DriftingArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "drifting"
    schema_version: ClassVar[int] = 1
    width: int = 6
    depth: int = 2
    activation: Literal["tanh", "relu"] = "tanh"
    rate: float = 0.5
    encoder: Annotated[Conv | Dense, Field(discriminator="kind")] = Dense()
    heads: tuple[Head, ...] = (Head(), Head())
    head: Head = Head()

    def make_policy(self, rules):
        return Drifting(self, rules)

class Drifting(nn.Module, Policy):
    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({Capability.LOGITS})
        width = architecture.width
        self.inp = nn.Linear(rules.observation_size, width)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(architecture.depth)])
        self.out = nn.Linear(width, rules.actions.logit_count)
        scales = [feature.scale for feature in rules.features for _ in range(feature.size)]
        self.register_buffer("scales", torch.tensor(scales), persistent=False)

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        x = torch.tanh(self.inp(observation / self.scales))
        for each in self.layers:
            x = x + torch.tanh(each(x))
        logits = self.out(x)
        return PolicyOutput(action=logits.argmax(-1) if action is None else action, state={}, logits=logits)
"""

RULES = GameRules(
    features=(
        Feature(name="position", id=0, shape=(2,), scale=4.0),
        Feature(name="speed", id=1),
        Feature(name="fuel", id=2),
    ),
    actions=DiscreteActions.of("left", "stay", "right"),
    tags=("maze",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftZoo:
    """A store with version 1.0.0, and a checkpoint of it.

    Attributes:
        folder: where everything lies.
        store: of the wheels.
        path: the checkpoint.
    """

    folder: Path
    store: Store
    path: Path

    def add(self, version: str, source: str, *, kind: str = "drifting", migrations: str = "") -> None:
        """Pack a version and put it into the store."""
        points = f"[policy_interface.architectures]\n{kind} = drift_zoo:DriftingArchitecture\n"
        files = {"drift_zoo/__init__.py": source}
        if migrations:
            points += "[policy_interface.migrations]\ndrifting = drift_zoo.migrations:REVISIONS\n"
            files["drift_zoo/migrations.py"] = migrations
        self.store.add([pack_files(self.folder / "wheels", "drift-zoo", version, files, points)])

    def run(self, *arguments: object) -> Result:
        """Run `mpt` with these arguments and this store."""
        return CliRunner().invoke(mpt, [*map(str, arguments), "--store", str(self.store.path)])

    def paste(self, command: str) -> Result:
        """Run a printed command exactly as it was printed."""
        words = shlex.split(command, comments=True)
        assert words[0] == "mpt"
        return CliRunner().invoke(mpt, words[1:])


def make_drift_zoo(folder: Path) -> DriftZoo:
    """Return a zoo with version 1.0.0 and a checkpoint of it, whose author chose the width."""
    zoo = DriftZoo(folder=folder, store=Store(folder / "store"), path=folder / "run.mpt")
    zoo.add("1.0.0", SOURCE)
    torch.manual_seed(0)
    cls = StoredCode(zoo.store.entries()[0]).architecture_class("drifting")
    architecture = cls.from_document({"kind": "drifting", "schema_version": 1, "config": {"width": 6}})
    save_policy(architecture.make_policy(RULES), zoo.path)
    return zoo
