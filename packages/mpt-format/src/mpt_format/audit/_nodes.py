"""What a pickle would build, as inert values: the nodes of the symbolic graph.

Python's own immutable primitives (None, bool, int, float, str, bytes), `list` and `tuple` stand for themselves; they
carry no code. Everything else is one of the slotted classes here. Nodes are compared by identity only: nothing in the
audit hashes, compares or prints a node that came from a file, so a self-referring or very deep graph is harmless.
A dict is a flat list of keys and values, because building a real dict would hash what the file says.
"""

from __future__ import annotations

__all__ = [
    "LATER",
    "BigInt",
    "ByteArray",
    "Call",
    "DictNode",
    "Ext",
    "Global",
    "Node",
    "OutOfBand",
    "Persistent",
    "SetNode",
    "StorageUse",
    "TensorCall",
    "Unresolvable",
    "find_class",
    "make_call",
    "make_persistent",
]

from typing import Any, NamedTuple, TypeAlias

Node: TypeAlias = Any
"""Any value on the symbolic stack; the alias says that the value came from a file."""


class DictNode(list[Node]):
    """A dict as the file spells it: key, value, key, value, ... with repeated keys kept."""

    __slots__ = ()


class SetNode(list[Node]):
    """A set built by EMPTY_SET and ADDITEMS, or a frozenset (`FROZENSET`), in file order."""

    __slots__ = ("frozen",)

    def __init__(self, items: list[Node], frozen: bool) -> None:
        super().__init__(items)
        self.frozen = frozen


class ByteArray:
    """A bytearray (BYTEARRAY8); `data` is a view into the file, not a copy."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data


class BigInt:
    """An integer too long to be worth computing: only its length is kept."""

    __slots__ = ("size_bytes",)

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


class Global:
    """A name to import: `module.name`, as torch reads it (Python 2 names mapped) and as the file spells it."""

    __slots__ = ("full_name", "module", "name", "offset", "spelled")

    def __init__(self, module: str, name: str, offset: int, spelled: str) -> None:
        self.module = module
        self.name = name
        self.full_name = f"{module}.{name}"
        self.offset = offset
        self.spelled = spelled


class Call:
    """Something the unpickler would call: REDUCE, NEWOBJ, NEWOBJ_EX, INST or OBJ, with what is done to the result.

    It has no `__init__`, which would take longer than all else about it: whoever makes one sets all five fields.
    """

    __slots__ = ("args", "func", "more", "offset", "op")

    func: Node
    args: Node
    offset: int
    op: int
    more: _More | None

    @property
    def kwargs(self) -> Node:
        """The keyword arguments of NEWOBJ_EX."""
        return self.more.kwargs if self.more else None

    @property
    def items(self) -> list[Node] | None:
        """What APPEND, APPENDS and ADDITEMS put in."""
        return self.more.items if self.more else None

    @property
    def pairs(self) -> DictNode | None:
        """What SETITEM and SETITEMS put in."""
        return self.more.pairs if self.more else None

    @property
    def states(self) -> list[Node] | None:
        """What BUILD gave it."""
        return self.more.states if self.more else None

    def set_kwargs(self, kwargs: Node) -> None:
        """Keep the keyword arguments of NEWOBJ_EX."""
        self._expand().kwargs = kwargs

    def add_items(self, items: list[Node]) -> None:
        """Keep what is appended or added to the result."""
        more = self._expand()
        if more.items is None:
            more.items = []
        more.items.extend(items)

    def add_pairs(self, items: list[Node]) -> None:
        """Keep the keys and values that are set on the result."""
        more = self._expand()
        if more.pairs is None:
            more.pairs = DictNode()
        more.pairs.extend(items)

    def add_state(self, state: Node) -> None:
        """Keep a state that the result is built with."""
        more = self._expand()
        if more.states is None:
            more.states = []
        more.states.append(state)

    def _expand(self) -> _More:
        if self.more is None:
            self.more = _More()
        return self.more


class _More:
    """The parts of a Call that most calls do not have, so that a plain one stays small."""

    __slots__ = ("items", "kwargs", "pairs", "states")

    def __init__(self) -> None:
        self.kwargs: Node = None
        self.items: list[Node] | None = None
        self.pairs: DictNode | None = None
        self.states: list[Node] | None = None


class TensorCall(Call):
    """A call that rebuilds a dense tensor and was read as a whole: its arguments are made when they are asked for."""

    __slots__ = ("source",)

    source: Any
    """What makes the arguments; None once they are made."""

    def __getattr__(self, name: str) -> Node:
        """Make the arguments, whose slot is empty."""
        if name != "args" or self.source is None:
            raise AttributeError(name)
        source, self.source = self.source, None
        self.args = args = source.make_arguments()
        return args

    def is_untouched(self) -> bool:
        """Whether it holds a plain tensor and nothing else."""
        return self.more is None and (self.source is not None or self.args[5].more is None)


def make_call(func: Node, args: Node, offset: int, op: int) -> Call:
    """A call to which nothing has been done yet."""
    call = Call()
    call.func = func
    call.args = args
    call.offset = offset
    call.op = op
    call.more = None
    return call


class Persistent:
    """An object that lives outside the pickle (PERSID, BINPERSID): torch's storages. Without `__init__`, like Call."""

    __slots__ = ("offset", "pid")

    pid: Node
    offset: int


def make_persistent(pid: Node, offset: int) -> Persistent:
    """The object that a persistent id names."""
    persistent = Persistent()
    persistent.pid = pid
    persistent.offset = offset
    return persistent


class StorageUse(NamedTuple):
    """The first reference to a storage: its class, its length in elements, and where the reference stands."""

    kind: Global
    length: int
    offset: int


LATER: Node = object()
"""Stands in the memo for a part of a `TensorCall` that is not made yet."""


def find_class(node: Node) -> Global | None:
    """The global that names a class: the node itself, or what torch before 1.0 wrapped with the module's source."""
    if type(node) is Global:
        return node
    if type(node) is Persistent:
        pid = node.pid
        if type(pid) is tuple and len(pid) > 1 and pid[0] in ("module", b"module") and type(pid[1]) is Global:
            return pid[1]
    return None


class Ext:
    """A copyreg extension code (EXT1, EXT2, EXT4): a global whose name is not in the file."""

    __slots__ = ("code", "offset")

    def __init__(self, code: int, offset: int) -> None:
        self.code = code
        self.offset = offset


class OutOfBand:
    """A protocol 5 buffer that the file does not contain (NEXT_BUFFER)."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Unresolvable:
    """A global whose module or name is itself computed: no reading of the file says what it is."""

    __slots__ = ("module", "name", "offset")

    def __init__(self, module: Node, name: Node, offset: int) -> None:
        self.module = module
        self.name = name
        self.offset = offset
