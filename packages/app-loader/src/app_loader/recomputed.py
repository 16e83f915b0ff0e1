"""Buffers that the code makes and no state dict carries: registered with ``persistent=False``.

They are part of no archive, so the code that is built has to make them again: it is asked to, once more and with real
memory, while the parameters of that second copy are allocated and never written. Whether it makes what the trained
policy had is not taken on trust: saving rehearses the load against the witness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from policy_interface import GameRules, Policy, PolicyArchitecture
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _UntouchedParameters(TorchFunctionMode):
    """Leaves out what would initialise a parameter: memory that nobody writes to costs nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return a parameter as it is where something would be written into it."""
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__") and args and isinstance(args[0], nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))


def make_recomputed(policy: Policy, architecture: PolicyArchitecture, rules: GameRules) -> None:
    """Give a policy that was built on ``meta`` the buffers that are in no state dict; without any nothing is done.

    Args:
        policy: its non-persistent buffers are replaced by those of a second copy.
        architecture: makes that copy.
        rules: to make it for.

    Raises:
        Exception: whatever model code raises.
    """
    module = policy.module
    missing = {} if module is None else _outside(module)
    if module is None or not missing:
        return
    with torch.random.fork_rng(devices=[]), _UntouchedParameters():
        copy = architecture.make_policy(rules).module
    made = {} if copy is None else dict(copy.named_buffers(remove_duplicate=False))
    for key in missing:
        value = made.get(key)
        if value is not None and not value.is_meta:
            path, _, leaf = key.rpartition(".")
            module.get_submodule(path)._buffers[leaf] = value


def _outside(module: nn.Module) -> Mapping[str, Tensor]:
    """Return the buffers on ``meta`` that the state dict leaves out."""
    carried = module.state_dict().keys()
    buffers = dict(module.named_buffers(remove_duplicate=False))
    return {key: value for key, value in buffers.items() if value.is_meta and key not in carried}
