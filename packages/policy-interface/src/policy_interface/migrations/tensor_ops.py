"""Operations on the tensors of a state dict, as data: what goes in, what comes out, and how it is undone.

Every operation names keys by templates, so one rule covers a list of layers. An operation that no key fits is an error
when it is applied, unless it says ``optional=True``: a rule that does nothing is a rule that was misread. Nothing here
computes; the application does, lazily and one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policy_interface.migrations._frame import TensorOp
from policy_interface.migrations._joining_ops import Cat, Split, Stack, Unstack
from policy_interface.migrations._naming_ops import Add, Drop, Init, Reindex, Rename
from policy_interface.migrations._open_ops import Choose, Function
from policy_interface.migrations._shaping_ops import Cast, Reshape, Resize, ResizePolicy, Transpose
from policy_interface.migrations._sharing_ops import Alias, Unalias

Tensors = Mapping[str, Any]
"""Key to tensor; the values are torch tensors, which this package never imports."""

__all__ = [
    "Add",
    "Alias",
    "Cast",
    "Cat",
    "Choose",
    "Drop",
    "Function",
    "Init",
    "Reindex",
    "Rename",
    "Reshape",
    "Resize",
    "ResizePolicy",
    "Split",
    "Stack",
    "TensorOp",
    "Tensors",
    "Transpose",
    "Unalias",
    "Unstack",
]
