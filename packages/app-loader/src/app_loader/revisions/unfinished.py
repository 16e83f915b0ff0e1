"""What a person still has to write into a revision: the summary, and why nothing is lost with what goes.

A reviewed revision without them is followed all the same, for released ones never change; but it tells nobody why, and
that is what a review is for. So the check of a zoo names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy_interface.migrations import Add, Drop, DropField, Revision


def find_unfinished(revision: Revision) -> Iterator[str]:
    """Yield everything that is left to write, each in words that begin with the revision's id."""
    for question in revision.open_questions:
        yield f"{revision.id}: the Choose of {question.key!r} waits for an operation in its place"
    if not revision.summary.strip():
        yield f"{revision.id}: its summary is empty: what changed, and why?"
    for change in revision.config:
        if isinstance(change, DropField) and not change.reason.strip():
            yield f"{revision.id}: the DropField of {change.path!r} has no reason: why is nothing lost?"
    for op in revision.tensors:
        if isinstance(op, Drop) and not op.reason.strip():
            yield f"{revision.id}: the Drop of {op.key!r} has no reason: why is nothing lost, or what is?"
        if isinstance(op, Add) and not op.reason.strip():
            yield f"{revision.id}: the Add of {op.key!r} has no reason: what does it change?"
