"""What tensors of both sides can share: their own features, and the corresponding modules that they lie in."""

from __future__ import annotations

from collections.abc import Mapping

from app_loader.matching._names import parents
from app_loader.matching._side import Side
from app_loader.matching._state import State


class Features:
    """Static features of tensors and, as features too, the corresponding modules that they lie in; made when asked."""

    def __init__(self, side: Side, names: Mapping[str, str]) -> None:
        self._side = side
        self._names = names
        self._known: dict[str, frozenset[str]] = {}

    def __getitem__(self, key: str) -> frozenset[str]:
        if key not in self._known:
            inside = {"in=" + self._names[path] for path in parents(key) if path in self._names}
            self._known[key] = self._side.static_features(key) | inside
        return self._known[key]


def features(state: State, modules: Mapping[str, str]) -> tuple[Features, Features]:
    """Return the features of both sides under a correspondence of modules."""
    return Features(state.old, modules), Features(state.new, {target: target for target in modules.values()})
