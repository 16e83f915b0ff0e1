"""What a file is found to be: its kind, the pickle streams in it, where its tensors lie, what is wrong with it.

Holds what the readers of the formats find, and the bounds that all streams of a file share; knows no format itself.
"""

from __future__ import annotations

__all__ = ["Candidate", "Container", "Opener", "RecordProblem", "join_names", "names_something"]

from dataclasses import dataclass, field
from typing import Protocol

from ._limits import Limits
from ._machine import run_pickle
from ._nodes import Call, Ext, Global, Unresolvable
from ._stream import BUILD, Buffer, Stream
from ._summary import Summary, summarize
from ._zip import ZipDirectory


class Opener(Protocol):
    """Tells what bytes are and reads every pickle stream in them."""

    def __call__(self, data: Buffer, limits: Limits, *, name: str, nesting: int) -> Container:
        """Open bytes that stand so deep inside a file, under a name."""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One pickle stream: where it is and what it says."""

    name: str
    """Member names from the outside in, joined by `!`; empty for the file itself."""
    stream: Stream
    base: int = 0
    """Offset of the stream's data in the file, where the data is a plain slice of it; else 0."""
    root: bool = False
    """Whether this is the object that `torch.load` returns."""
    _summary: Summary | None = None

    def get_summary(self, storage_fields: int) -> Summary:
        """The log's counts and suspects; made once."""
        if self._summary is None:
            self._summary = summarize(self.stream, storage_fields)
        return self._summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordProblem:
    """One storage whose record is missing, or has another length than the pickle says."""

    offset: int
    """Of the first reference to the storage, in its stream."""
    key: str
    size_bytes: int | None
    """Of the record; None where there is none."""
    needed_bytes: int

    def describe(self) -> str:
        """What is wrong, in words."""
        if self.size_bytes is None:
            return f"the record of storage {self.key[:80]!r} is missing"
        return f"storage {self.key[:80]!r} has {self.size_bytes} bytes, its tensors name {self.needed_bytes}"


@dataclass(slots=True, kw_only=True)
class Container:
    """What a file is: its kind, its pickle streams, its tensors' whereabouts, and what is wrong with it."""

    kind: str
    description: str
    opener: Opener
    """Opens what stands in it as a file of its own."""
    candidates: list[Candidate] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Why the file is malformed."""
    limits_hit: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_checkpoint: bool = False
    torch_refusal: str | None = None
    """Why `torch.load(weights_only=True)` refuses the container itself, whatever its pickles say."""
    without_pickle: bool = False
    """Whether the format has no pickle at all: safetensors and archives made of it."""
    directory: ZipDirectory | None = None
    prefix: str = ""
    """Folder of a torch zip that all records lie in, with its slash."""
    storages: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Storage key -> byte offset in the file and size, of records that lie there as they are."""
    packed: dict[str, int] = field(default_factory=dict)
    """Storage key -> size of records that are compressed: torch unpacks them, nothing here does."""
    byteorder: str = "little"
    tensors: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    """Name, dtype and shape of the tensors of a safetensors member."""
    storage_fields: int = 5
    record_problems: list[RecordProblem] = field(default_factory=list)
    """Records that do not fit the main pickle; found while findings are collected."""

    unpacked_size_bytes: int = 0
    """What compressed members unpacked to, all together."""
    turns: int = 0
    """At most so many opcodes were read in all streams together."""

    def read_stream(self, data: Buffer, start: int, limits: Limits, *, stop: int | None = None) -> Stream:
        """Read one stream and count it."""
        stream = run_pickle(data, start, limits, stop=stop)
        self.turns += min(stream.end - start, limits.opcodes)
        return stream

    def may_read_on(self, limits: Limits) -> bool:
        """Whether the bounds for all streams of a file together leave room for one more; else they are named."""
        for text, used, bound in (
            ("opcodes in all", self.turns, limits.all_opcodes),
            ("unpacked bytes in all", self.unpacked_size_bytes, limits.all_unpacked_bytes),
            ("streams", len(self.candidates), limits.streams),
        ):
            if used >= bound:
                reached = f"{text}: stopped after {bound}"
                if reached not in self.limits_hit:
                    self.limits_hit.append(reached)
                return False
        return True

    def add_unannounced(self, label: str, stream: Stream) -> None:
        """Keep the stream of a member that nothing announces as a pickle, when it is one that imports."""
        if _imports(stream):
            self.candidates.append(Candidate(name=label, stream=stream))

    def get_root(self) -> Candidate | None:
        """The stream that holds the object `torch.load` returns, where there is one."""
        for candidate in self.candidates:
            if candidate.root:
                return candidate
        return None

    def descend(self, content: Buffer, label: str, base: int, limits: Limits, nesting: int) -> None:
        """Audit one member: a pickle, or an archive inside the archive."""
        if nesting >= limits.nesting:
            self.limits_hit.append(f"nesting: {label[:80]} is not opened")
            return
        if not self.may_read_on(limits):
            return
        inner = self.opener(content, limits, name=label, nesting=nesting + 1)
        self.turns += inner.turns
        self.unpacked_size_bytes += inner.unpacked_size_bytes
        for candidate in inner.candidates:
            candidate.root = candidate.root and self.kind == "sb3-zip" and label.endswith("policy.pth")
            candidate.base += base
            self.candidates.append(candidate)
        self.limits_hit.extend(inner.limits_hit)
        self.problems.extend(f"{label[:80]}: {problem}" for problem in inner.problems)
        if self.kind == "sb3-zip" and label.endswith("policy.pth"):
            self.storages = {key: (offset + base, size) for key, (offset, size) in inner.storages.items()}
            self.byteorder = inner.byteorder
            self.storage_fields = inner.storage_fields


def _imports(stream: Stream) -> bool:
    """Whether a stream imports what can be imported and ends, or uses it: text that begins like a pickle does not."""
    if stream.tensors:
        return True
    importable: set[int] = set()
    for event in stream.log:
        kind, used = type(event), False
        if kind is Global:
            if _is_importable(event):
                importable.add(id(event))
        elif isinstance(event, Call):
            used = type(event.func) is not Global or id(event.func) in importable
        elif kind is tuple and event[1] == BUILD:
            used = id(event[2][0]) in importable
        elif kind is Ext or kind is Unresolvable:
            used = True
        if used:
            return True
    return stream.complete and bool(importable)


def _is_importable(node: Global) -> bool:
    return all(part.isidentifier() for part in node.full_name.split("."))


def names_something(stream: Stream) -> bool:
    """Whether a stream imports or calls; a line of a program, `import torch`, is INST of what cannot be imported."""
    return any(
        type(event) is not tuple and (type(event) is not Global or _is_importable(event)) for event in stream.log
    )


def join_names(name: str, inner: str) -> str:
    return f"{name}!{inner}" if name else inner
