"""A zoo with a history, stored, and a checkpoint of its first release."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from policy_interface import DiscreteActions, Feature, GameRules

sys.path.insert(0, str(Path(__file__).parent))

from history_zoo import pack, revisions_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """A store with releases of the zoo, and a folder for checkpoints."""

    folder: Path
    store: Store

    def add(self, version: str, **options: Any) -> None:
        """Pack a release and put it into the store."""
        self.store.add([pack(self.folder / "wheels", version, **options)])

    def save(self, version: str, name: str = "run.mpt", *, train_steps: int = 2, **options: Any) -> Path:
        """Make a policy with a release, train it a little, and save it."""
        code = StoredCode(next(e for e in self.store.entries() if e.version == version))
        torch.manual_seed(0)
        policy = code.architecture_class("steady")().make_policy(RULES)
        optimizer = torch.optim.Adam(policy.module.parameters(), lr=0.01)
        for _ in range(train_steps):
            output = policy.act(torch.randn(4, 3), {})
            (output.logits.square().mean() + output.value.square().mean()).backward()
            optimizer.step()
            optimizer.zero_grad()
        path = self.folder / name
        save_policy(policy, path, optimizer=optimizer if train_steps else None, created=False, **options)
        return path


RULES = GameRules(
    features=(Feature(name="position", id=0, shape=(2,)), Feature(name="speed", id=1)),
    actions=DiscreteActions.of("left", "stay", "right"),
)


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """Releases 0.1.0, 0.2.0 and 0.3.0; the last one carries the revisions."""
    made = Zoo(folder=tmp_path, store=Store(tmp_path / "store"))
    made.add("0.1.0")
    made.add("0.2.0")
    made.add("0.3.0", revisions=revisions_source())
    return made
