"""Revisions: what changed between two states of model code, as data that anybody can apply and undo.

Model code owns its revisions and declares them with an entry point of the group ``policy_interface.migrations``; the
application walks and applies them. Nothing here imports torch or touches a file.
"""

from __future__ import annotations

from policy_interface.migrations.config_ops import (
    AddField,
    ChangeKind,
    ChangeNumber,
    ConfigOp,
    DropField,
    MapField,
    RenameField,
    SetSchemaVersion,
)
from policy_interface.migrations.errors import InvalidMigrationError
from policy_interface.migrations.graph import RevisionGraph
from policy_interface.migrations.key_template import KeyTemplate
from policy_interface.migrations.revision import ENTRY_POINTS, Revision
from policy_interface.migrations.rules_ops import (
    AddAction,
    DropAction,
    RenameAction,
    RenameFeature,
    RescaleFeature,
    RulesOp,
)
from policy_interface.migrations.tensor_ops import (
    Add,
    Alias,
    Cast,
    Cat,
    Choose,
    Drop,
    Function,
    Init,
    Reindex,
    Rename,
    Reshape,
    Resize,
    ResizePolicy,
    Split,
    Stack,
    TensorOp,
    Transpose,
    Unalias,
    Unstack,
)

__all__ = [
    "ENTRY_POINTS",
    "Add",
    "AddAction",
    "AddField",
    "Alias",
    "Cast",
    "Cat",
    "ChangeKind",
    "ChangeNumber",
    "Choose",
    "ConfigOp",
    "Drop",
    "DropAction",
    "DropField",
    "Function",
    "Init",
    "InvalidMigrationError",
    "KeyTemplate",
    "MapField",
    "Reindex",
    "Rename",
    "RenameAction",
    "RenameFeature",
    "RenameField",
    "RescaleFeature",
    "Reshape",
    "Resize",
    "ResizePolicy",
    "Revision",
    "RevisionGraph",
    "RulesOp",
    "SetSchemaVersion",
    "Split",
    "Stack",
    "TensorOp",
    "Transpose",
    "Unalias",
    "Unstack",
]
