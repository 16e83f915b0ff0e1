"""One revision: what changed in model code, as one value, reviewed by a person before it is ever applied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from policy_interface.migrations.config_ops import ConfigOp
from policy_interface.migrations.errors import InvalidMigrationError
from policy_interface.migrations.rules_ops import RulesOp
from policy_interface.migrations.tensor_ops import Choose, TensorOp

ENTRY_POINTS = "policy_interface.migrations"
"""The entry-point group in which a distribution declares its revisions: ``name = "package.migrations:REVISIONS"``."""

_ID = re.compile(r"[a-z0-9][a-z0-9_]{2,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One step of model code's history.

    Attributes:
        id: a stable name, as in ``r0002_fuse_query_key_value``; archives remember it.
        parents: ids of the revisions that come before; empty for the first, two or more where histories meet.
        since: the first release of the distribution that has this revision's code. An archive that remembers no
        revision
            was written by code that had every revision up to its own release.
        kinds: the kinds that it concerns; for all others it changes nothing.
        summary: what changed and why, in a sentence or two.
        config: operations on the architecture document, in order.
        tensors: operations on the state dict, in order.
        rules: operations on the game rules, in order.
        reviewed: whether a person has read and finished it. A draft is never applied.
        replaces: ids of the revisions that a squash stands for; an archive that remembers one of them is understood.
        irreversible: why it cannot be undone; empty when it can.
        blocked: why no checkpoint of these kinds can follow; empty when they can.
        old_schemas: kind to digest of its config schema before, where it is known.
        new_schemas: kind to digest of its config schema after.
    """

    id: str
    parents: tuple[str, ...]
    since: str
    kinds: tuple[str, ...]
    summary: str
    config: tuple[ConfigOp, ...] = ()
    tensors: tuple[TensorOp, ...] = ()
    rules: tuple[RulesOp, ...] = ()
    reviewed: bool = False
    replaces: tuple[str, ...] = ()
    irreversible: str = ""
    blocked: str = ""
    old_schemas: tuple[tuple[str, str], ...] = ()
    new_schemas: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidMigrationError(f"revision {self.id!r}", problems)

    def _problems(self) -> Iterator[str]:
        if not _ID.fullmatch(self.id):
            yield "its id must be 3 to 64 small letters, digits and underscores"
        if not self.kinds:
            yield "it names no kind that it concerns"
        if self.id in self.parents:
            yield "it names itself as its parent"
        if self.blocked and (self.config or self.tensors or self.rules):
            yield "it is blocked and yet has operations"
        if self.reviewed and self.open_questions:
            open_key = self.open_questions[0].key
            yield f"it is marked as reviewed with {len(self.open_questions)} open question(s), the first: {open_key}"

    @property
    def open_questions(self) -> tuple[Choose, ...]:
        """What a draft leaves to a person."""
        return tuple(op for op in self.tensors if isinstance(op, Choose))

    def inverted_tensors(self) -> tuple[TensorOp, ...]:
        """Return the operations that undo the tensors, last first.

        Raises:
            InvalidMigrationError: the revision or one of its operations is irreversible.
        """
        self._check_reversible()
        return tuple(op.inverted() for op in reversed(self.tensors))

    def inverted_config(self) -> tuple[ConfigOp, ...]:
        """Return the operations that undo the config, last first."""
        self._check_reversible()
        return tuple(op.inverted() for op in reversed(self.config))

    def inverted_rules(self) -> tuple[RulesOp, ...]:
        """Return the operations that undo the rules, last first."""
        self._check_reversible()
        return tuple(op.inverted() for op in reversed(self.rules))

    def _check_reversible(self) -> None:
        why = self.irreversible or self.blocked
        if why:
            raise InvalidMigrationError(f"revision {self.id!r}", [f"cannot be undone: {why}"])
