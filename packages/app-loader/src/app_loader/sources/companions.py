"""Private companions: the pure libraries that a wheel needs at another version than the one that is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from app_loader.errors import SourceRefusedError
from app_loader.store.shared import judge_shared_libraries
from app_loader.store.wheel import read_wheel

ALWAYS_SHARED = frozenset(
    {"torch", "numpy", "pydantic", "pydantic-core", "safetensors", "policy-interface", "triton", "torchvision"}
)
"""What a process has one version of: native libraries, and the contract whose types cross the border."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedCompanion:
    """A companion as an archive pins it.

    Attributes:
        distribution: its name.
        version: its version text.
        sha256: digest (hex) of its wheel.
    """

    distribution: str
    version: str
    sha256: str


def resolve_companions(main: Path, private: dict[str, Path], take: Callable[[str], Path]) -> None:
    """Add what a wheel asks for outside of what is installed, and what that asks for in turn.

    Args:
        main: the main wheel.
        private: the companions so far, by normalized name; grows.
        take: returns the wheel of a requirement, or raises SourceRefusedError.
    """
    pending = [main, *private.values()]
    while pending:
        wheel = read_wheel(pending.pop())
        for library in judge_shared_libraries(wheel.requires, private):
            name = canonicalize_name(library.name)
            if library.met or name in ALWAYS_SHARED:
                continue
            try:
                found = take(f"{library.name}{library.asked}")
            except SourceRefusedError:
                continue  # the judgement of shared libraries names it when the code is imported
            private[name] = found
            pending.append(found)
