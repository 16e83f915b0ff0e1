"""Policies that run, in two layouts of one model: what they compute is the same, what their tensors are called is not.

A model is a set of roles (`block.0.q`); a layout says under which path each stands, in which order they are
registered, which are joined or stored turned, and where a wrapper lies above. Forward passes ask for roles, so two
layouts are two codes of one function, and the true mapping is known by construction. Names are drawn from words that
say nothing, so that signatures alone settle little.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from policy_interface import Capability, DiscreteActions, Feature, GameRules, Policy, PolicyArchitecture, PolicyOutput
from torch import Tensor, nn
from torch.nn import functional

FEATURES, ACTIONS, TOKENS = 12, 5, 4
WORDS = """
alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra
tango uniform victor whiskey xray yankee zulu amber birch cedar dune ember fjord grove haze iris jade
"""
PARTS = ("attention", "gate", "experts", "conv", "memory", "twins", "norms")


class ZooArchitecture(PolicyArchitecture):
    """Stands for what a zoo declares; the layout is code and not config."""

    kind: ClassVar[str] = "drifting"
    schema_version: ClassVar[int] = 1

    def make_policy(self, rules: GameRules) -> Policy:
        """Refuse: these policies are made of a layout."""
        raise NotImplementedError


class Turned(nn.Module):
    """A linear layer that keeps its matrix as [in, out]."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_in, width_out) / width_in**0.5)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return x @ self.weight + self.bias


@dataclass(frozen=True)
class Model:
    """What is computed, whatever it is called."""

    width: int
    blocks: int
    parts: frozenset[str]


@dataclass
class Layout:
    """Where the roles of a model stand.

    Attributes:
        name: role, or its last part, to a name.
        order: seed of the order of registration; None keeps that of the forward pass.
        joined: q, k and v are one layer.
        turned: linear layers keep their matrices turned.
        wrapper: name of a module above all; empty for none.
    """

    name: dict[str, str] = field(default_factory=dict)
    order: int | None = None
    joined: bool = False
    turned: bool = False
    wrapper: str = ""


class Drifting(nn.Module, Policy):
    """A model in a layout."""

    def __init__(self, model: Model, layout: Layout) -> None:
        super().__init__()
        self.model, self.layout = model, layout
        self.architecture = ZooArchitecture()
        self.rules = make_rules()
        self.capabilities = frozenset({Capability.LOGITS, Capability.VALUE})
        roles = list(self._roles())
        if layout.order is not None:
            random.Random(layout.order).shuffle(roles)
        for role, module in roles:
            self._register(role, module)

    @property
    def module(self) -> nn.Module:
        """The policy is its own module."""
        return self

    def path(self, role: str) -> str:
        """Return the dotted path of a role."""
        tokens = [self.layout.name.get(token, token) for token in role.split(".")]
        return ".".join([self.layout.wrapper, *tokens] if self.layout.wrapper else tokens)

    def _register(self, role: str, module: nn.Module) -> None:
        *above, leaf = self.path(role).split(".")
        owner: nn.Module = self
        for token in above:
            if token not in owner._modules:
                owner.add_module(token, nn.Module())
            owner = owner.get_submodule(token)
        owner.add_module(leaf, module)

    def _linear(self, width_in: int, width_out: int) -> nn.Module:
        return Turned(width_in, width_out) if self.layout.turned else nn.Linear(width_in, width_out)

    def _roles(self) -> Iterator[tuple[str, nn.Module]]:
        model, width = self.model, self.model.width
        yield "inp", self._linear(FEATURES, TOKENS * width)
        if "conv" in model.parts:
            yield "stem.conv", nn.Conv1d(width, width, 3, padding=1)
            yield "stem.bn", nn.BatchNorm1d(width)
            yield "stem.conv2", nn.Conv1d(width, width, 3, padding=1)
            yield "stem.bn2", nn.BatchNorm1d(width)
        for i in range(model.blocks):
            if "norms" in model.parts:
                yield f"block.{i}.norm1", nn.LayerNorm(width)
            if "attention" in model.parts:
                if self.layout.joined:
                    yield f"block.{i}.qkv", self._linear(width, 3 * width)
                else:
                    for part in "qkv":
                        yield f"block.{i}.{part}", self._linear(width, width)
                yield f"block.{i}.o", self._linear(width, width)
            if "norms" in model.parts:
                yield f"block.{i}.norm2", nn.LayerNorm(width)
            if "gate" in model.parts:
                for part in ("up", "gate", "down"):
                    yield f"block.{i}.{part}", self._linear(width, width)
            else:
                yield f"block.{i}.fc1", self._linear(width, width)
                yield f"block.{i}.fc2", self._linear(width, width)
        if "experts" in model.parts:
            yield "router", self._linear(width, 3)
            for i in range(3):
                yield f"expert.{i}", self._linear(width, width)
        if "memory" in model.parts:
            yield "core", nn.GRUCell(width, width)
        yield "actor.0", self._linear(width, width)
        yield "actor.1", self._linear(width, ACTIONS)
        for twin in ("critic", "critic2") if "twins" in model.parts else ("critic",):
            yield f"{twin}.0", self._linear(width, width)
            yield f"{twin}.1", self._linear(width, 1)

    def __call__(self, role: str, x: Tensor) -> Tensor:
        """Apply a role."""
        return self.get_submodule(self.path(role))(x)

    def initial_state(self, batch_size: int) -> Any:
        """Return zeros [batch, width], or nothing without memory."""
        return torch.zeros(batch_size, self.model.width) if "memory" in self.model.parts else ()

    def act(
        self, observation: Any, state: Any, *, action: Any = None, deterministic: bool = True, generator: Any = None
    ) -> PolicyOutput:
        """Choose the most probable action."""
        model, width = self.model, self.model.width
        x = self("inp", observation).view(-1, TOKENS, width)
        if "conv" in model.parts:
            y = functional.gelu(self("stem.bn", self("stem.conv", x.transpose(1, 2))))
            x = x + self("stem.bn2", self("stem.conv2", y)).transpose(1, 2)
        for i in range(model.blocks):
            x = self._block(f"block.{i}", x)
        if "experts" in model.parts:
            weights = self("router", x).softmax(dim=-1)
            x = x + sum(weights[..., i : i + 1] * self(f"expert.{i}", x).tanh() for i in range(3))
        y = x.mean(dim=1)
        if "memory" in model.parts:
            state = y = self.get_submodule(self.path("core"))(y, state)
        logits = self("actor.1", self("actor.0", y).tanh())
        value = self("critic.1", self("critic.0", y).tanh())
        if "twins" in model.parts:
            value = value + self("critic2.1", self("critic2.0", y).tanh())
        return PolicyOutput(
            action=logits.argmax(dim=-1) if action is None else action, state=state, logits=logits, value=value[..., 0]
        )

    def _block(self, at: str, x: Tensor) -> Tensor:
        parts = self.model.parts
        y = self(f"{at}.norm1", x) if "norms" in parts else x
        if "attention" in parts:
            if self.layout.joined:
                q, k, v = self(f"{at}.qkv", y).chunk(3, dim=-1)
            else:
                q, k, v = (self(f"{at}.{part}", y) for part in "qkv")
            x = x + self(f"{at}.o", (q @ k.transpose(1, 2) / self.model.width**0.5).softmax(dim=-1) @ v)
        y = self(f"{at}.norm2", x) if "norms" in parts else x
        if "gate" in parts:
            return x + self(f"{at}.down", functional.silu(self(f"{at}.gate", y)) * self(f"{at}.up", y))
        return x + self(f"{at}.fc2", functional.gelu(self(f"{at}.fc1", y)))


def make_rules() -> GameRules:
    """Return the rules that every model here plays by."""
    return GameRules(
        features=tuple(Feature(name=f"x{i}", id=i, dtype="float32") for i in range(FEATURES)),
        actions=DiscreteActions.of(*(f"a{i}" for i in range(ACTIONS))),
    )


def make_pair(seed: int) -> tuple[Drifting, Drifting, dict[str, Any]]:
    """Return an old policy, one of another layout, and the truth: new key to (op, old key or keys)."""
    rng = random.Random(seed)
    parts = frozenset(part for part in PARTS if rng.random() < 0.6)
    model = Model(width=rng.choice((8, 12)), blocks=rng.randint(1, 4), parts=parts)
    torch.manual_seed(seed)
    old = Drifting(model, _layout(rng))
    layout = _layout(rng)
    layout.joined = rng.random() < 0.4
    layout.turned = not layout.joined and rng.random() < 0.4
    new = Drifting(model, layout)
    return old, new, truth_of(old, new)


def _layout(rng: random.Random) -> Layout:
    words = rng.sample(WORDS.split(), len(WORDS.split()))
    roles = ("inp", "stem", "conv", "bn", "conv2", "bn2", "block", "norm1", "norm2", "q", "k", "v", "qkv", "o")
    roles += ("fc1", "fc2", "up", "gate", "down", "router", "expert", "core", "actor", "critic", "critic2")
    renamed = {role: word for role, word in zip(roles, words, strict=False) if rng.random() < 0.8}
    return Layout(
        name=renamed,
        order=rng.randrange(1 << 30) if rng.random() < 0.7 else None,
        wrapper=rng.choice(("", "", "body", "net")),
    )


def truth_of(old: Drifting, new: Drifting) -> dict[str, Any]:
    """Return where each new tensor comes from, by role."""
    turned = old.layout.turned != new.layout.turned
    truth: dict[str, Any] = {}
    for role, module in new._roles():
        for leaf, tensor in module.state_dict().items():
            key = f"{new.path(role)}.{leaf}"
            at, _, last = role.rpartition(".")
            if last == "qkv" and not old.layout.joined:
                truth[key] = ("cat", tuple(f"{old.path(f'{at}.{part}')}.{leaf}" for part in "qkv"))
                continue
            flips = turned and isinstance(module, nn.Linear | Turned) and tensor.dim() == 2
            truth[key] = ("transpose" if flips else "copy", f"{old.path(role)}.{leaf}")
    return truth
