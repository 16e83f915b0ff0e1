"""What one file has to say, made where it is read: in the process that audits it, be it the only one or one of several.

Holds only what the command prints or writes, so that of a hundred thousand files little is kept, and little is sent
from one process to another.
"""

from __future__ import annotations

__all__ = ["AuditAnswer", "Wanted", "answer_file"]

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpt_format.audit import FileAudit, Limits
from mpt_format.audit._causes import Told, find_causes
from mpt_format.cli.output import format_json
from mpt_format.errors import AuditError, escape_text

if TYPE_CHECKING:
    from mpt_format.audit._html import TreeNode
    from mpt_format.audit._result import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command needs of each file, and how much of the file it may read."""

    limits: Limits
    json: bool = False
    audit: bool = False
    """Whether the whole answer is kept, for the text of one file or a report."""
    tree: bool = False
    """Whether the object tree is drawn, for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnswer:
    """One file's answer: its verdict and its row in the summary, and what else was wanted."""

    verdict: Verdict
    row: tuple[str, ...]
    causes: list[Told]
    json: str | None = None
    audit: FileAudit | None = None
    tree: TreeNode | None = None


def answer_file(name: str, wanted: Wanted) -> AuditAnswer:
    """Audit one file.

    Raises:
        AuditError: There is no such file, it is no regular file, it cannot be read, or memory does not suffice.
    """
    from mpt_format.audit import audit_checkpoint
    from mpt_format.audit._text import format_summary

    try:
        if wanted.tree:
            audit, tree = _audit_with_tree(name, wanted.limits)
        else:
            audit, tree = audit_checkpoint(name, limits=wanted.limits), None
    except MemoryError:
        raise AuditError(
            f"{escape_text(name)} cannot be audited: it takes more memory than there is; `--max-opcodes 1000000` reads "
            "less of it"
        ) from None
    return AuditAnswer(
        verdict=audit.verdict,
        row=format_summary([audit])[0],
        causes=find_causes(audit),
        json=format_json(audit.to_json()) if wanted.json else None,
        audit=audit if wanted.audit or wanted.tree else None,
        tree=tree,
    )


def _audit_with_tree(name: str, limits: Limits) -> tuple[FileAudit, TreeNode | None]:
    from mpt_format.audit._audit import audit_container, open_file
    from mpt_format.audit._containers import open_container
    from mpt_format.audit._html import build_tree

    with open_file(name) as data:
        container = open_container(data, limits)
        one = audit_container(container, name=name, size_bytes=len(data), limits=limits)
        root = container.get_root()
        return one, build_tree(root, one, limits) if root is not None else None
