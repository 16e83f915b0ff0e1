"""A torch state dict from an archive's parts: what `state_dict()` returned when the archive was written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from mpt_format.manifest import Manifest


def make_state_dict(
    manifest: Manifest, tensors: Mapping[str, torch.Tensor], extra_state: Mapping[str, Any]
) -> OrderedDict[str, Any]:
    """Put tensors, extra state and module versions together.

    Tied parameters become one `Parameter`: ``load_state_dict(assign=True)`` would otherwise wrap each key in its own,
    and an optimizer would see two. `requires_grad` follows the module that the state is loaded into.
    """
    state: OrderedDict[str, Any] = OrderedDict(tensors)
    tied = {alias.canonical for alias in manifest.aliases.values() if alias.view is None and alias.kind == "parameter"}
    for name in tied:
        if name in tensors and manifest.tensors[name].kind == "parameter":
            tensor = tensors[name]
            state[name] = torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point() or tensor.is_complex())
    for alias in manifest.aliases.values():
        if alias.canonical in tied and alias.view is None and alias.kind == "parameter" and alias.name in state:
            state[alias.name] = state[alias.canonical]
    state.update(extra_state)
    state._metadata = OrderedDict(  # type: ignore[attr-defined]
        (prefix, {} if module.version is None else {"version": module.version})
        for prefix, module in manifest.modules.items()
    )
    return state
