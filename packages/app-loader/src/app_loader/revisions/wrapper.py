"""Wrappers around a whole policy: `module.` of data parallel training, `_orig_mod.` of `torch.compile`.

Every key of one side begins with the wrapper's name and the keys are equal behind it: then, and only then, is it seen
through, for nothing can be confused. Reviewed revisions that speak of the keys behind a wrapper are followed there. A
wrapper around a part, or beside a change that no revision names, is a change like any other.
"""

from __future__ import annotations

from collections.abc import Collection

from policy_interface.migrations import Rename
from torch import Tensor, nn

WRAPPERS = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module")


def find_wrapper(have: Collection[str], want: Collection[str]) -> Rename | None:
    """Return the rename that takes a whole tree out of wrappers or puts it into them; None where that does not fit.

    Args:
        have: keys of the archive.
        want: keys of the code.
    """
    outer, inner = _wrappers(have), _wrappers(want)
    if outer == inner or not have:
        return None
    bare = {key.removeprefix(outer) for key in have}
    if bare != {key.removeprefix(inner) for key in want}:
        return None
    return Rename(old=f"{outer}{{rest...}}", new=f"{inner}{{rest...}}")


def find_unwrapping(keys: Collection[str]) -> Rename | None:
    """Return the rename that takes a whole tree out of its wrappers; None where it has none.

    Args:
        keys: of the archive.
    """
    outer = _wrappers(keys)
    return Rename(old=f"{outer}{{rest...}}", new="{rest...}") if outer else None


def tensor_keys(module: nn.Module) -> set[str]:
    """Return the keys of a module's tensors, those of extra state left out."""
    return {key for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def _wrappers(keys: Collection[str]) -> str:
    """Return the wrappers' names that all keys begin with, one in the other, with their dots."""
    found = ""
    while True:
        name = next((f"{found}{each}." for each in WRAPPERS if all(k.startswith(f"{found}{each}.") for k in keys)), "")
        if not name or not keys:
            return found
        found = name
