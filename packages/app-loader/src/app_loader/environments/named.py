"""A gymnasium environment by its id, with near names when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.error import Error as GymnasiumError

from app_loader.environments.errors import UnknownEnvironmentError


def make_environment(name: str) -> Callable[[], gymnasium.Env[Any, Any]]:
    """Return a function that makes the environment.

    Raises:
        UnknownEnvironmentError: gymnasium has none of that id.
    """
    try:
        gymnasium.spec(name)
    except GymnasiumError as error:
        near = difflib.get_close_matches(name, gymnasium.registry, n=3)
        raise UnknownEnvironmentError(name, near=tuple(near), reason=str(error)) from None
    return lambda: gymnasium.make(name)
