"""One pass over a stream's log: what is plainly allowed by every torch version is counted, the rest is kept.

Nearly every event of an ordinary checkpoint is a tensor being rebuilt. Whatever asks a question later (each torch
version's rules, the search for findings) looks at the few events that are left, in their order.
"""

from __future__ import annotations

__all__ = ["Summary", "is_plain_storage", "is_plain_storage_class", "summarize"]

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter

from ._arguments import JUDGED, NEVER_EMPTY, find_misuse
from ._nodes import Call, DictNode, Global, Node, Persistent, StorageUse, TensorCall
from ._stream import BUILD, NOTE, SETITEM, Event, Stream
from ._tensors import storage_item_size
from ._torch_table import load_rules

_OTHER_BYTES = frozenset({0x42, 0x43, 0x8E, 0x96, 0x8B, 0x49, 0x4C})
"""Opcodes of byte strings and long integers: values that a walk has to look for."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What a log holds.

    Attributes:
        suspects: Events that some torch version might refuse, in file order.
        names: Imported name -> how often.
        calls: How many calls there are.
        persistent: How many references to storages there are.
        storages: Storage key -> its first use, for well-formed ones, in any order.
    """

    suspects: list[Event] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    persistent: int = 0
    storages: dict[str, StorageUse] = field(default_factory=dict)
    misused: list[tuple[Call, str]] = field(default_factory=list)
    """Calls of allowed functions with arguments that no writer gives, and what is wrong; they are suspects as well."""
    _sizes: dict[str, int] | None = None

    def get_sizes(self) -> dict[str, int]:
        """Storage key -> how many bytes its first use says it has; made once."""
        if self._sizes is None:
            self._sizes = {}
            known, item_size = None, 0
            for key, (kind, length, _) in self.storages.items():
                if kind is not known:  # nearly all are of one class
                    known, item_size = kind, storage_item_size(kind.name)
                self._sizes[key] = length * item_size
        return self._sizes


@cache
def _common() -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[int]]:
    """What every version allows: names, names that may be called by REDUCE, storage classes, opcodes."""
    versions = list(load_rules().values())
    names = set.intersection(*(set(rules.allowed) for rules in versions))
    blocked = set().union(*(rules.blocked_modules for rules in versions))
    names = {name for name in names if name.rpartition(".")[0] not in blocked}
    kinds = versions[-1].allowed
    callable_names = {name for name in names if kinds[name] in ("function", "class")}
    storages = {name for name in names if kinds[name] == "storage" and not name.endswith("UntypedStorage")}
    opcodes = frozenset.intersection(*(rules.opcodes for rules in versions))
    return frozenset(names), frozenset(callable_names), frozenset(storages), opcodes - _OTHER_BYTES


def summarize(stream: Stream, storage_fields: int) -> Summary:
    """Count the plain events of a stream's log and keep the others."""
    names, callable_names, storage_names, opcodes = _common()
    summary = Summary()
    log = stream.log
    calls = persistent = 0
    read_whole: dict[str, StorageUse] = {}
    if stream.tensor_fields == storage_fields:
        calls, persistent = 2 * len(stream.tensors), len(stream.tensors)
        read_whole = stream.storages
    else:
        log = stream.get_events()
    suspect = summary.suspects.append
    storages = summary.storages
    counted = summary.names
    # A name is looked up once, where it is imported; what uses it refers to the same node afterwards.
    callees: set[int] = set()
    rebuilds: dict[int, int] = {}  # with how many arguments they usually have
    judged: set[int] = set()
    never_empty: set[int] = set()
    encodes: set[int] = set()
    classes: set[int] = set()
    for event in log:
        kind = type(event)
        if kind is Call or kind is TensorCall:
            calls += 1
            func = id(event.func)
            if func not in callees or event.op != 0x52 or type(event.args) is not tuple:
                suspect(event)
                if func in judged and (misuse := find_misuse(event)) is not None:
                    summary.misused.append((event, misuse))
            elif len(event.args) == rebuilds.get(func) and _is_usual_tensor(event.args):
                continue
            elif func in encodes and _is_latin(event.args):
                continue  # bytes, as protocol 2 writes them
            elif (event.args or func in never_empty) and func in judged and (misuse := find_misuse(event)) is not None:
                suspect(event)
                summary.misused.append((event, misuse))
        elif kind is Persistent:
            persistent += 1
            pid = event.pid
            if (
                type(pid) is tuple
                and len(pid) == storage_fields
                and pid[0] == "storage"
                and type(key := pid[2]) is str
                and id(pid[1]) in classes
                and type(pid[4]) is int
            ):
                if key not in storages:
                    storages[key] = StorageUse(pid[1], pid[4], event.offset)
            else:
                suspect(event)
        elif kind is Global:
            name = event.full_name
            counted[name] += 1
            if name not in names:
                suspect(event)
            if name in callable_names:
                callees.add(id(event))
                if name in JUDGED:
                    judged.add(id(event))
                if name in NEVER_EMPTY:
                    never_empty.add(id(event))
                if name == "_codecs.encode":
                    encodes.add(id(event))
                if name in _REBUILDS:
                    rebuilds[id(event)] = _REBUILDS[name]
            elif name in storage_names:
                classes.add(id(event))
        elif kind is tuple:
            if event[1] == BUILD:
                target, state = event[2]
                if type(state) is DictNode and _is_ordered_dict(target):
                    continue
            elif (event[1] == NOTE and event[2] in opcodes) or (event[1] == SETITEM and _is_ordered_dict(event[2])):
                continue
            suspect(event)
        else:
            suspect(event)
    if read_whole:
        summary.storages = _merge_storages(storages, read_whole)
    summary.calls = calls
    summary.persistent = persistent
    return summary


def _merge_storages(first: dict[str, StorageUse], second: dict[str, StorageUse]) -> dict[str, StorageUse]:
    """The first use of every storage of what two readers found."""
    merged = first | second
    if len(merged) < len(first) + len(second):
        for key in first.keys() & second.keys():
            merged[key] = min(first[key], second[key], key=attrgetter("offset"))
    return merged


def _is_latin(args: tuple[Node, ...]) -> bool:
    if len(args) != 2 or args[1] != "latin1" or type(args[0]) is not str:
        return False
    try:
        args[0].encode("latin1")
    except UnicodeError:
        return False
    return True


def _is_usual_tensor(args: tuple[Node, ...]) -> bool:
    """Whether these arguments rebuild a dense tensor without gradient within its storage: what needs no judge."""
    if len(args) < 4 or type(args[0]) is not Persistent or (len(args) > 4 and args[4] is not False):
        return False
    storage, last, shape, stride = args[:4]
    if type(last) is not int or last < 0:
        return False
    pid = storage.pid
    if type(pid) is not tuple or len(pid) < 5 or type(pid[4]) is not int or (len(pid) > 5 and pid[5] is not None):
        return False
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride):
        return False
    empty = False
    for size, step in zip(shape, stride, strict=True):
        if type(size) is not int or type(step) is not int or size < 0 or not 0 <= step < _MOST_STEP:
            return False
        empty = empty or not size
        last += (size - 1) * step
    return bool(empty or last < pid[4])


_MOST_STEP = 1 << 62
_REBUILDS = {"torch._utils._rebuild_tensor": 4, "torch._utils._rebuild_tensor_v2": 6}


def _is_ordered_dict(node: Node) -> bool:
    return (
        isinstance(node, Call)
        and type(node.func) is Global
        and node.op == 0x52
        and node.func.full_name == "collections.OrderedDict"
    )


def is_plain_storage(node: Node) -> bool:
    """Whether a node is a storage that every torch version takes."""
    if type(node) is not Persistent:
        return False
    pid = node.pid
    return (
        type(pid) is tuple
        and len(pid) >= 5
        and pid[0] == "storage"
        and type(pid[1]) is Global
        and is_plain_storage_class(pid[1].full_name)
    )


def is_plain_storage_class(name: str) -> bool:
    """Whether every torch version takes a storage class of this name."""
    return name in _common()[2]
