"""The facts of each supported torch release: its allow-list, its opcodes, its storage classes.

Extracted from installed releases by `tools/extract_torch_rules.py` and shipped as `torch_rules.json`. Imports no torch
and judges nothing.

Source: `torch/_weights_only_unpickler.py` and `torch/serialization.py` of the versions in the table.
"""

from __future__ import annotations

__all__ = ["Rules", "load_rules"]

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from ._opcodes import OPCODES
from ._tables import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The facts of one torch release, as `tools/extract_torch_rules.py` read them."""

    torch: str
    opcodes: frozenset[int]
    allowed: dict[str, str]
    """Global name -> class, list (a subclass of it), function, dtype, storage, tensor or value."""
    blocked_modules: frozenset[str]
    set_item_types: frozenset[str] | None
    """Types that SETITEM(S) works on; None where every type does."""
    appends_to_subclasses: bool
    """Whether APPEND(S) works on allow-listed subclasses of list as well."""
    safetensors_by_name: bool
    """Whether `torch.load` opens a file whose name ends in `.safetensors`."""
    exact_records: bool
    """Whether `torch.load` refuses a record of a zip that is not as long as its storage."""
    storage_dtypes: dict[str, str]
    """Legacy storage class -> dtype."""
    dtype_sizes: dict[str, int]
    """dtype -> bytes of one element."""


@cache
def load_rules() -> dict[str, Rules]:
    """Torch release -> its rules, oldest first. Versions between two releases behave like the older one."""
    table = json.loads(read_table("torch_rules.json"))
    by_name = {opcode.name: code for code, opcode in OPCODES.items()}
    rules: dict[str, Rules] = {}
    facts: dict[str, Any] = {}
    for version, changes in table["versions"].items():
        facts = {**facts, **changes}
        rules[version] = Rules(
            torch=version,
            opcodes=frozenset(by_name[name] for name in facts["opcodes"]),
            allowed=facts["allowed"],
            blocked_modules=frozenset(facts["blocked_modules"]),
            set_item_types=None if facts["set_item_types"] is None else frozenset(facts["set_item_types"]),
            appends_to_subclasses=facts["appends_to_subclasses"],
            safetensors_by_name=facts["safetensors_by_name"],
            exact_records=facts["exact_records"],
            storage_dtypes=facts["storage_dtypes"],
            dtype_sizes=facts["dtype_sizes"],
        )
    return rules
