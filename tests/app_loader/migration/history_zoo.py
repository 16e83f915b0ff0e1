"""A zoo with a history: three releases of one policy, packed by hand into wheels, with the revisions between them.

0.1 has a wrapper, separate query, key and value, and a list of two equal layers. 0.2 has no wrapper. 0.3 joins the
three, puts a
layer that begins as nothing in front of the list, and knows one action more.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from policy_interface import DiscreteActions, Feature, GameRules

POLICY = """
from typing import ClassVar
import torch
from policy_interface import Capability, Policy, PolicyArchitecture, PolicyOutput
from torch import nn

class {kind_class}(PolicyArchitecture):
    kind: ClassVar[str] = "steady"
    schema_version: ClassVar[int] = {schema}
    {width}: int = 6
    inputs: int = 0
    outputs: int = 0

    def resolve(self, rules):
        return type(self).model_construct(
            _fields_set=set(self.model_fields_set),
            {width}=self.{width}, inputs=rules.observation_size, outputs=rules.actions.logit_count)

    def make_policy(self, rules):
        return Steady(self.resolve(rules), rules)

class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.net = inner
    def forward(self, x):
        return self.net(x)

def layer(width, zero):
    made = nn.Linear(width, width)
    if zero:
        nn.init.zeros_(made.weight); nn.init.zeros_(made.bias)
    return made

class Steady(nn.Module, Policy):
    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({{Capability.LOGITS, Capability.VALUE}})
        width = architecture.{width}
        wrap = Wrapped if {wrapped} else (lambda m: m)
        self.inp = wrap(nn.Linear(architecture.inputs, width))
        if {fused}:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.layers = nn.ModuleList([layer(width, {front} and i == 0) for i in range(2 + {front})])
        self.head = wrap(nn.Linear(width, architecture.outputs))
        self.critic = nn.Linear(width, 1)

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {{}}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        x = torch.tanh(self.inp(observation{twist}))
        q, k, v = self.qkv(x).chunk(3, -1) if {fused} else (self.query(x), self.key(x), self.value(x))
        x = x + torch.sigmoid((q * k).sum(-1, keepdim=True)) * v
        for each in self.layers:
            x = x + torch.tanh(each(x))
        logits = self.head(x)
        if action is None:
            action = logits.argmax(-1)
        return PolicyOutput(action=action, state={{}}, logits=logits, value=self.critic(x)[:, 0])
"""

REVISIONS = """
from policy_interface.migrations import *

ONE = Revision(
    id="r1_unwrap", parents=(), since="0.2", kinds=("steady",), reviewed=True,
    summary="The wrapper is gone and width is called size.",
    config=(SetSchemaVersion(old=1, new=2), RenameField(old="width", new="size")),
    tensors=(Rename(old="inp.net.{leaf}", new="inp.{leaf}"), Rename(old="head.net.{leaf}", new="head.{leaf}")),
)
TWO = Revision(
    id="r2_join", parents=("r1_unwrap",), since="0.3", kinds=("steady",), reviewed={reviewed},
    summary="Query, key and value are one layer; a layer that begins as nothing comes first; one can wait.",
    config=({field}(path="outputs", values=((3, 4),)),),
    tensors=(
        Cat(parts=("query.{leaf}", "key.{leaf}", "value.{leaf}"), whole="qkv.{leaf}"),
        Reindex(path="layers", numbers=((0, 1), (1, 2))),
        Add(key="layers.0.weight", shape=(6, 6), init="zeros", reason="tanh(0) adds nothing"),
        Add(key="layers.0.bias", shape=(6,), init="zeros", reason="tanh(0) adds nothing"),
        Resize(key="head.weight", dim=0, policy="append", by=1, value=0.0),
        Resize(key="head.bias", dim=0, policy="append", by=1, value=-1e9),
    ),
    rules=(AddAction(name="wait"),),
)
REVISIONS = (ONE, TWO{more})
"""


def policy_source(version: str, *, twist: str = "") -> str:
    """Return the source of one release; `twist` changes what the policy computes and no key or shape."""
    number = float(version.rpartition(".")[0]) if version.count(".") > 1 else float(version)
    return POLICY.format(
        kind_class="SteadyArchitecture",
        schema=1 if number < 0.2 else 2,
        width="width" if number < 0.2 else "size",
        wrapped=number < 0.2,
        fused=number >= 0.3,
        front=int(number >= 0.3),
        twist=twist,
    )


def revisions_source(*, reviewed: bool = True, more: str = "", extra: str = "") -> str:
    """Return the module with the revisions."""
    text = REVISIONS.replace("{reviewed}", str(reviewed)).replace("{field}", "MapField").replace("{more}", more)
    return text.replace("REVISIONS = (", extra + "\nREVISIONS = (")


def pack(folder: Path, version: str, *, revisions: str | None = None, twist: str = "") -> Path:
    """Write one release as a wheel."""
    points = "[policy_interface.architectures]\nsteady = steady_zoo:SteadyArchitecture\n"
    if revisions is not None:
        points += "[policy_interface.migrations]\nsteady = steady_zoo.migrations:REVISIONS\n"
    files = {"steady_zoo/__init__.py": policy_source(version, twist=twist)}
    if revisions is not None:
        files["steady_zoo/migrations.py"] = revisions
    return pack_files(folder, "steady-zoo", version, files, points)


def pack_files(folder: Path, name: str, version: str, modules: Mapping[str, str], points: str) -> Path:
    """Write a wheel of these modules and entry points."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = dict(modules)
    files[f"{stem}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: policy-interface>=1.0,<2\nRequires-Dist: torch\n"
    )
    files[f"{stem}.dist-info/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{stem}.dist-info/entry_points.txt"] = points
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    files[f"{stem}.dist-info/RECORD"] = record + f"{stem}.dist-info/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), text)
    return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


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
        assert policy.module is not None
        optimizer = torch.optim.Adam(policy.module.parameters(), lr=0.01)
        for _ in range(train_steps):
            output = policy.act(torch.randn(4, 3), {})
            assert output.logits is not None and output.value is not None
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


def make_zoo(folder: Path) -> Zoo:
    """Return releases 0.1.0, 0.2.0 and 0.3.0; the last one carries the revisions."""
    made = Zoo(folder=folder, store=Store(folder / "store"))
    made.add("0.1.0")
    made.add("0.2.0")
    made.add("0.3.0", revisions=revisions_source())
    return made
