"""Environments that are learned in seconds and whose returns are known."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class CopyEnv(gymnasium.Env[Any, Any]):
    """Four steps; each pays 1 for naming the side that is shown."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self._side)
        self._step += 1
        return self._show(), reward, self._step == 4, False, {}

    def _show(self) -> Any:
        self._side = int(self.np_random.integers(2))
        shown = np.zeros(2, np.float32)
        shown[self._side] = 1.0
        return shown


class RecallEnv(gymnasium.Env[Any, Any]):
    """A side is shown at the first step; the second pays 1 for naming it, when nothing is shown any more."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        self._side = int(self.np_random.integers(2))
        return np.full(1, 2 * self._side - 1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        done = self._step == 2
        return np.zeros(1, np.float32), float(done and action == self._side), done, False, {}


class ClockEnv(gymnasium.Env[Any, Any]):
    """Shows the number of the step and pays 1 for each; cut off after `length` steps, never terminated."""

    observation_space = spaces.Box(0.0, 100.0, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, length: int) -> None:
        self._length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return np.full(1, self._step, np.float32), 1.0, False, self._step == self._length, {}
