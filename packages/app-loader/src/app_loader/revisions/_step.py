"""The tensors on their way through a plan, and one operation of it at work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policy_interface.migrations import KeyTemplate
from torch import Tensor

from app_loader.revisions.lazy import LazyTensor


@dataclass(slots=True)
class TensorState:
    """Tensors on their way through a plan.

    Attributes:
        tensors: key to lazy tensor.
        sources: key to the keys of the beginning that it was made of; empty for an added one.
        problems: what did not fit.
    """

    tensors: dict[str, LazyTensor]
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tensors: Mapping[str, LazyTensor]) -> TensorState:
        """Begin with these tensors."""
        return cls(dict(tensors), {key: (key,) for key in tensors})


@dataclass(slots=True)
class Step:
    """One operation at work."""

    state: TensorState
    op: Any
    config: Mapping[str, Any]
    for_slots: bool

    def fitting(self, template: str) -> list[tuple[str, dict[str, str]]]:
        """Return the keys that fit a template, with their fields."""
        compiled = KeyTemplate(template)
        if compiled.is_plain:
            found = [(template, dict[str, str]())] if template in self.state.tensors else []
        else:
            found = [(key, fields) for key in self.state.tensors if (fields := compiled.match(key)) is not None]
        if not found and not self.for_slots and not getattr(self.op, "optional", False):
            self.problem(f"no key fits {template!r}")
        return found

    def problem(self, text: str) -> None:
        """Note what does not fit."""
        self.state.problems.append(f"{type(self.op).__name__}: {text}")

    def replace(self, gone: Sequence[str], come: Mapping[str, tuple[LazyTensor, tuple[str, ...]]]) -> None:
        """Take keys away and put others in."""
        for key in gone:
            self.state.tensors.pop(key)
            self.state.sources.pop(key, None)
        for key, (tensor, sources) in come.items():
            if key in self.state.tensors:
                self.problem(f"{key!r} is there already")
            self.state.tensors[key] = tensor
            self.state.sources[key] = sources

    def in_place(self, template: str, compute: Callable[[Tensor], Tensor]) -> None:
        """Change every tensor that fits a template; keys that share one tensor go on sharing what is made of it."""
        made: dict[int, LazyTensor] = {}
        for key, _ in self.fitting(template):
            before = self.state.tensors[key]
            try:
                self.state.tensors[key] = made[id(before)] if id(before) in made else before.then(compute)
                made[id(before)] = self.state.tensors[key]
            except RuntimeError as error:
                self.problem(f"{key!r} shaped {list(before.shape)}: {error}")

    def sources(self, *keys: str) -> tuple[str, ...]:
        """Return the first keys that these were made of."""
        return tuple(source for key in keys for source in self.state.sources.get(key, ()))
