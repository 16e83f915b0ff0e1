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

from ._nodes import LATER, Node, StorageUse, TensorCall

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
    tensors: list[TensorCall] = field(default_factory=list)
    """Dense tensors that every torch version takes, with three events each that the log leaves out: `get_events`."""
    tensor_fields: int = 0
    """Length of the persistent ids of their storages."""
    storages: dict[str, StorageUse] = field(default_factory=dict)
    """Storage key -> its first use among `tensors`."""

    def get_events(self) -> list[Event]:
        """Every event in file order, those of `tensors` included."""
        inner = [part for tensor in self.tensors for part in (tensor.args[0], tensor.args[5], tensor)]
        return sorted([*self.log, *inner], key=_event_offset) if inner else self.log


def _event_offset(event: Event) -> int:
    return int(event[0] if type(event) is tuple else event.offset)


class Reading:
    """The state of an unpickler beside its stack: what the opcodes of one stream share."""

    __slots__ = ("data", "facts", "log", "memo", "metastack", "notes", "size", "stream")

    def __init__(self, data: Buffer, size: int, stream: Stream) -> None:
        self.data = data
        self.size = size
        self.stream = stream
        self.log = stream.log
        self.notes = stream.notes
        self.memo: list[Node] | SparseMemo = []
        self.metastack: list[list[Node]] = []
        self.facts: Any = None
        """What `_shapes` knows of this stream."""

    def note(self, offset: int, code: int) -> None:
        """Count the use of an opcode that protocol 2 does not write; the first one is an event."""
        known = self.notes.get(code)
        if known is None:
            self.notes[code] = [offset, 1]
            self.log.append((offset, NOTE, code))
        else:
            known[1] += 1

    def store(self, index: int, node: Node) -> list[Node] | SparseMemo:
        """Keep a node in the memo, which may become another object by that: it is returned."""
        memo = self.memo
        if index == len(memo):
            memo.append(node)
            return memo
        if index > len(memo) and type(memo) is list:
            self.memo = memo = SparseMemo(enumerate(memo))
        memo[index] = node
        if self.facts is not None:
            self.facts.parts.clear()
        return memo

    def load(self, index: int) -> Node:
        """A node from the memo."""
        try:
            node = self.memo[index]
        except IndexError:
            raise KeyError(index) from None
        return self.facts.fill_memo(self, index) if node is LATER else node


class SparseMemo(dict[int, Node]):
    """The memo of a pickle that does not count its entries from zero, one after the other; else it is a list."""

    __slots__ = ()

    def append(self, node: Node) -> None:
        """Keep a node as MEMOIZE does: its index is how many there are."""
        self[len(self)] = node


class Malformed(Exception):
    """The stream cannot be read further; the text says why."""


class LimitHit(Exception):
    """A bound was reached; the text names it."""
