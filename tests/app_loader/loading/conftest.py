"""A tiny zoo: one recurrent policy as source, packed by hand into wheels of as many versions as a test needs."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from policy_interface import DiscreteActions, Feature, GameRules

SOURCE = '''
"""A recurrent policy small enough to be read at a glance."""
from typing import ClassVar

import torch
from policy_interface import Capability, Policy, PolicyArchitecture, PolicyOutput
from torch import nn


class TinyArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "tiny"
    {width}: int = {default}
    inputs: int = 0
    outputs: int = 0

    def resolve(self, rules):
        return type(self).model_construct(
            _fields_set=set(self.model_fields_set),
            {width}=self.{width}, inputs=rules.observation_size, outputs=rules.actions.logit_count)

    def make_policy(self, rules):
        return TinyPolicy(self.resolve(rules), rules)


class TinyPolicy(nn.Module, Policy):
    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({{Capability.LOGITS, Capability.VALUE}})
        self.{core} = nn.GRUCell(architecture.inputs, architecture.{width})
        self.head = nn.Linear(architecture.{width}, architecture.outputs + 1)

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {{"core": torch.zeros(batch_size, self.architecture.{width}, device=self.head.weight.device)}}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        core = self.{core}(observation * {scale}, state["core"])
        out = self.head(core)
        logits, value = out[:, :-1], out[:, -1]
        if action is None:
            action = logits.argmax(-1) if deterministic else torch.multinomial(
                logits.softmax(-1), 1, generator=generator)[:, 0]
        return PolicyOutput(action=action, state={{"core": core}}, logits=logits, value=value)
'''


def tiny_source(*, width: str = "width", default: int = 5, core: str = "core", scale: float | str = 1.0) -> str:
    """Return the source of one version."""
    return SOURCE.format(width=width, default=default, core=core, scale=scale)


def pack_wheel(
    folder: Path,
    version: str,
    source: str,
    *,
    name: str = "tiny-zoo",
    requires: tuple[str, ...] = ("policy-interface>=1.0,<2", "torch"),
    kinds: tuple[str, ...] = ("tiny",),
) -> Path:
    """Write a wheel with the one package `tiny_zoo`."""
    points = "".join(f"{kind} = tiny_zoo:TinyArchitecture\n" for kind in kinds)
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "tiny_zoo/__init__.py": source,
        f"{stem}.dist-info/METADATA": "Metadata-Version: 2.1\n"
        + f"Name: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": f"[policy_interface.architectures]\n{points}",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{stem}.dist-info/RECORD"] = record + f"{stem}.dist-info/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
    return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def rules() -> GameRules:
    """Two features, three actions."""
    return GameRules(
        features=(Feature(name="position", id=0, shape=(2,)), Feature(name="speed", id=1, scale=4.0)),
        actions=DiscreteActions.of("left", "stay", "right"),
    )


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[..., Path]:
    """A maker of tiny wheels: ``wheel("0.1.0", core="old_core")``."""

    def make(version: str, *, folder: str = "wheels", source: str | None = None, **options: object) -> Path:
        packing = {key: options.pop(key) for key in ("name", "requires", "kinds") if key in options}
        text = tiny_source(**options) if source is None else source  # type: ignore[arg-type]
        return pack_wheel(tmp_path / folder, version, text, **packing)  # type: ignore[arg-type]

    return make
