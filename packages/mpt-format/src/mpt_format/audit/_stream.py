"""What one pickle stream says: the graph, the log, and how far the reading came.

Beside the graph stands a flat log of every import, call and state change in file order, with byte offsets: a call whose
result is thrown away still runs in a real unpickler, and an import alone is execution. Holds what was read and judges
nothing.
"""

from __future__ import annotations

__all__ = [
    "ADDITEM",
    "APPEND",
    "BUILD",
    "NOTE",
    "SETITEM",
    "Buffer",
    "Event",
    "LimitHit",
    "Malformed",
    "Reading",
    "Stream",
]

from dataclasses import dataclass, field
from mmap import mmap
from typing import Any, TypeAlias

from ._nodes import Node

BUILD, APPEND, SETITEM, ADDITEM, NOTE = range(5)
"""Kinds of log events that are no node. NOTE is the first use of an opcode outside the
common part of protocol 2; its node is the opcode byte."""

Buffer: TypeAlias = bytes | mmap
"""Where the opcodes are read from: both give an int for an index, bytes for a slice, and can `find`."""

Event: TypeAlias = Any
"""A Global, Unresolvable, Ext, Call or Persistent node, or a tuple of byte offset, kind and node for the other kinds.
APPEND, SETITEM and ADDITEM are logged only where the target is no plain container."""


@dataclass(slots=True, kw_only=True)
class Stream:
    """What one pickle stream says: the graph, the log, and how far the reading came."""

    root: Node = None
    log: list[Event] = field(default_factory=list)
    protocol: int | None = None
    end: int = 0
    """Offset behind STOP, or where the reading stopped."""
    complete: bool = False
    """Whether STOP was reached."""
    problem: str | None = None
    problem_offset: int = 0
    limit: str | None = None
    notes: dict[int, list[int]] = field(default_factory=dict)
    """Opcode byte -> [first offset, count], for opcodes that protocol 2 does not write."""


class Reading:
    """The state of an unpickler beside its stack: what the opcodes of one stream share."""

    __slots__ = ("data", "log", "memo", "metastack", "notes", "size")

    def __init__(self, data: Buffer, size: int, stream: Stream) -> None:
        self.data = data
        self.size = size
        self.log = stream.log
        self.notes = stream.notes
        self.memo: dict[int, Node] = {}
        self.metastack: list[list[Node]] = []

    def note(self, offset: int, code: int) -> None:
        """Count the use of an opcode that protocol 2 does not write; the first one is an event."""
        known = self.notes.get(code)
        if known is None:
            self.notes[code] = [offset, 1]
            self.log.append((offset, NOTE, code))
        else:
            known[1] += 1


class Malformed(Exception):
    """The stream cannot be read further; the text says why."""


class LimitHit(Exception):
    """A bound was reached; the text names it."""
