"""Paths: where in the loaded object every node of a pickle lies.

One iterative walk in file order with parent pointers. The first path to a node wins; further references are counted and
the first few of them kept. Depth, cycles and self-similar graphs cost no more than their edges. A path is written the
way Python would reach the object: `root['a'].state[0]`, keys by `repr`, `.name` for attributes, `.<args>[i]` for what a
constructor was given.
"""

from __future__ import annotations

__all__ = ["Walk", "child_steps", "format_key", "format_step", "state_attributes", "walk_graph"]

from collections.abc import Iterator
from typing import Any

from ._limits import Limits
from ._nodes import BigInt, ByteArray, Call, DictNode, Global, Node, Persistent, SetNode, find_class
from ._summary import is_plain_storage

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, memoryview, BigInt, ByteArray})
"""Nodes without parts that carry no code; bytes are walked to only when asked for."""

Edge = tuple[str, Any]
"""What leads from a parent to a child: a kind of step and its key, index or name."""

_MAX_ALSO = 16


class Walk:
    """The nodes that can be reached from a root, each with its first path and how often it is referred to."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.nodes: list[Node] = []
        self._parents: list[int] = []
        self._edges: list[Edge] = []
        self._index: dict[int, int] = {}
        self.references: dict[int, int] = {}
        """Index of a node -> how often it is referred to, where that is more than once."""
        self._also: dict[int, list[tuple[int, Edge]]] = {}
        self.callees: set[int] = set()
        """Ids of the globals that are called, or that say which class a call makes."""

    def find_index(self, node: Node) -> int | None:
        """Position of a node in the walk, or None when the root does not reach it."""
        return self._index.get(id(node))

    def format_path(self, index: int) -> str:
        """The first path to the node at `index`."""
        steps = []
        while index > 0 or (index == 0 and self._parents[0] >= 0):
            steps.append(self._edges[index])
            index = self._parents[index]
            if index < 0:
                break
        return self._join(steps)

    def format_other_paths(self, index: int) -> list[str]:
        """Further paths to the same object, as many as were kept."""
        paths = []
        for parent, edge in self._also.get(index, ()):
            steps = [edge]
            while parent > 0:
                steps.append(self._edges[parent])
                parent = self._parents[parent]
            paths.append(self._join(steps))
        return paths

    def _join(self, steps: list[Edge]) -> str:
        shown = self._limits.path_steps
        if len(steps) > shown:
            cut = len(steps) - shown
            kept = [*steps[: shown // 2], ("cut", cut), *steps[-(shown // 2) :]]
        else:
            kept = steps
        return "root" + "".join(format_step(step) for step in reversed(kept))

    def add_reference(self, index: int, parent: int, edge: Edge) -> None:
        """Count one more reference to a node that was reached before."""
        self.references[index] = self.references.get(index, 1) + 1
        also = self._also.setdefault(index, [])
        if len(also) < _MAX_ALSO:
            also.append((parent, edge))


def walk_graph(root: Node, limits: Limits, *, with_bytes: bool = False) -> Walk:
    """Walk everything that `root` reaches, in the order in which the pickle made it.

    Args:
        root: The object of a stream.
        limits: Bounds for the printed paths.
        with_bytes: Whether byte strings and long integers are nodes of their own.
    """
    walk = Walk(limits)
    nodes, parents, edges, index = walk.nodes, walk._parents, walk._edges, walk._index
    plain = _PLAIN - {bytes, memoryview, BigInt, ByteArray} if with_bytes else _PLAIN
    pending: list[tuple[Node, int, Edge]] = [(root, -1, ("root", None))]
    while pending:
        node, parent, edge = pending.pop()
        here = index.get(id(node))
        if here is not None:
            if node != ():
                walk.add_reference(here, parent, edge)
            continue
        here = len(nodes)
        index[id(node)] = here
        nodes.append(node)
        parents.append(parent)
        edges.append(edge)
        kind = type(node)
        found: list[tuple[Node, int, Edge]]
        if kind is DictNode:
            found = []
            for at in range(0, len(node) - 1, 2):
                key, value = node[at], node[at + 1]
                if type(key) not in plain:
                    found.append((key, here, ("keys", at // 2)))
                if type(value) not in plain and not (type(value) is Call and _is_inert(value)):
                    found.append((value, here, ("key", key)))
        elif kind is list or kind is tuple:
            found = [
                (child, here, ("item", at))
                for at, child in enumerate(node)
                if type(child) not in plain and not (type(child) is Call and _is_inert(child))
            ]
        elif kind is SetNode:
            found = [(child, here, ("member", at)) for at, child in enumerate(node) if type(child) not in plain]
        elif kind is Call:
            found = [
                (child, here, step)
                for child, step in _parts(node, walk.callees)
                if type(child) not in plain and not (type(child) is Call and _is_inert(child))
            ]
        elif kind is Persistent:
            pid = node.pid
            if type(pid) is tuple:
                found = []
                for at, child in enumerate(pid):
                    if type(child) is Global and at == 1:
                        walk.callees.add(id(child))
                    elif type(child) not in plain:
                        found.append((child, here, ("persistent", at)))
            else:
                found = [] if type(pid) in plain else [(pid, here, ("persistent", 0))]
        else:
            continue
        found.reverse()
        pending.extend(found)
    return walk


def _is_inert(call: Call) -> bool:
    """Whether a call rebuilds a dense tensor or a byte string: nothing below it can be a finding."""
    func = call.func
    if type(func) is not Global or func.full_name not in _INERT or call.more is not None:
        return False
    args = call.args
    if func.full_name == "_codecs.encode":
        return type(args) is tuple and _TEXTS.issuperset(map(type, args))
    if type(args) is not tuple or len(args) != 6 or not is_plain_storage(args[0]):
        return False
    hooks = args[5]
    return (
        type(args[1]) is int
        and type(args[2]) is tuple
        and type(args[3]) is tuple
        and _INTEGERS.issuperset(map(type, args[2]))
        and _INTEGERS.issuperset(map(type, args[3]))
        and type(args[4]) is bool
        and type(hooks) is Call
        and type(hooks.func) is Global
        and hooks.func.full_name == "collections.OrderedDict"
        and hooks.args == ()
        and hooks.more is None
    )


_INERT = frozenset({"torch._utils._rebuild_tensor_v2", "_codecs.encode"})
_TEXTS = frozenset({str})
_INTEGERS = frozenset({int})


def child_steps(node: Node) -> Iterator[tuple[Node, Edge]]:
    """Every child of a node, plain values included, with the step that leads to it."""
    kind = type(node)
    if kind is DictNode:
        for at in range(0, len(node) - 1, 2):
            if type(node[at]) not in _PLAIN:
                yield node[at], ("keys", at // 2)
            yield node[at + 1], ("key", node[at])
    elif kind is list or kind is tuple:
        for at, child in enumerate(node):
            yield child, ("item", at)
    elif kind is SetNode:
        for at, child in enumerate(node):
            yield child, ("member", at)
    elif kind is Call:
        for child, step in _parts(node, set()):
            if step[0] != "keys" or type(child) not in _PLAIN:
                yield child, step


def _parts(call: Call, callees: set[int]) -> Iterator[tuple[Node, Edge]]:
    """The children of a call, each with the step that leads to it in the finished object."""
    func = call.func
    name = ""
    named = find_class(func)
    if named is not None:
        callees.update((id(func), id(named)))
        name = named.full_name
    else:
        yield func, ("callee", None)
    more = call.items is not None or call.pairs is not None or call.states is not None or call.kwargs is not None
    args = call.args if type(call.args) in (tuple, list) else None
    if args is None:
        yield call.args, ("arguments", None)
    elif name in _MAPPINGS and args and type(args[-1]) in (DictNode, list):
        for before in args[:-1]:
            yield before, ("args", 0)
        yield from _pairs(args[-1], len(args) - 1)
    elif name in _SEQUENCES and args and type(args[0]) in (list, tuple):
        for at, child in enumerate(args[0]):
            yield child, ("item" if name == "collections.deque" else "member", at)
        for at, child in enumerate(args[1:], 1):
            yield child, ("args", at)
    elif name in _CLASS_FIRST and args and (cls := find_class(args[0])) is not None:
        callees.update((id(args[0]), id(cls)))
        for at, child in enumerate(args[1:], 1):
            yield child, ("args", at)
    elif call.op == 0x81 and not more and args and name not in _PLAIN_CONSTRUCTORS:
        for at, child in enumerate(args):  # a namedtuple: its arguments are its items
            yield child, ("item", at)
    else:
        for at, child in enumerate(args):
            yield child, ("args", at)
    if not more:
        return
    if call.kwargs is not None:
        yield call.kwargs, ("kwargs", None)
    if call.items is not None:
        for at, child in enumerate(call.items):
            yield child, ("item", at)
    if call.pairs is not None:
        yield from _pairs(call.pairs, 0)
    for state in call.states or ():
        yield from _state_parts(name, state)


def _pairs(pairs: list[Node], position: int) -> Iterator[tuple[Node, Edge]]:
    """Keys and values: of a DictNode, or of the list of pairs that Python 2 wrote for an OrderedDict."""
    if type(pairs) is DictNode:
        for at in range(0, len(pairs) - 1, 2):
            yield pairs[at], ("keys", at // 2)
            yield pairs[at + 1], ("key", pairs[at])
        return
    for at, pair in enumerate(pairs):
        if type(pair) in (list, tuple) and len(pair) == 2:
            yield pair[0], ("keys", at)
            yield pair[1], ("key", pair[0])
        else:
            yield pair, ("args", position)


def state_attributes(call: Call) -> list[tuple[str, Node]] | None:
    """Attributes that BUILD gives an object, `__dict__` and slots alike; None where the state has another shape."""
    found: list[tuple[str, Node]] = []
    for state in call.states or ():
        parts = [state]
        if type(state) is tuple and len(state) == 2 and all(type(part) is DictNode or part is None for part in state):
            parts = list(state)
        for part in parts:
            if part is None:
                continue
            if type(part) is not DictNode or any(type(key) is not str for key in part[::2]):
                return None
            found.extend(zip(part[::2], part[1::2], strict=False))
    return found if call.states else None


def _state_parts(name: str, state: Node) -> Iterator[tuple[Node, Edge]]:
    if name == "functools.partial" and type(state) is tuple and len(state) == 4:
        for attribute, child in zip(("func", "args", "keywords", "__dict__"), state, strict=True):
            yield child, ("attr", attribute)
        return
    if name.endswith(".multiarray._reconstruct") and type(state) is tuple and len(state) == 5:
        yield state[0], ("state", 0)
        yield state[1], ("attr", "shape")
        yield state[2], ("attr", "dtype")
        yield state[3], ("state", 3)
        if type(state[4]) is list:
            for at, child in enumerate(state[4]):
                yield child, ("flat", at)
        else:
            yield state[4], ("state", 4)
        return
    attributes = [state]
    if type(state) is tuple and len(state) == 2 and all(type(part) is DictNode or part is None for part in state):
        attributes = list(state)  # (__dict__, slots)
    for part in attributes:
        if type(part) is DictNode:
            for at in range(0, len(part) - 1, 2):
                key = part[at]
                if type(key) is str:
                    yield part[at + 1], ("attr", key)
                else:
                    yield key, ("keys", at // 2)
                    yield part[at + 1], ("state key", key)
        elif part is not None:
            yield part, ("whole state", None)


_MAPPINGS = frozenset({"collections.OrderedDict", "collections.Counter", "collections.defaultdict", "builtins.dict"})
_SEQUENCES = frozenset(
    {"collections.deque", "builtins.list", "builtins.tuple", "builtins.set", "builtins.frozenset", "torch.Size"}
)
_CLASS_FIRST = frozenset(
    {
        "copyreg._reconstructor",
        "copyreg.__newobj__",
        "copyreg.__newobj_ex__",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    }
)
_PLAIN_CONSTRUCTORS = frozenset({"torch.nn.parameter.Parameter", "torch.Tensor", "torch.Size"})


def format_step(step: Edge) -> str:
    """One step of a path, as Python would write it."""
    kind, key = step
    if kind == "key":
        return f"[{format_key(key)}]"
    if kind == "item":
        return f"[{key}]"
    if kind == "attr":
        return f".{key}" if key.isidentifier() else f".__dict__[{format_key(key)}]"
    if kind == "root":
        return ""
    if kind == "cut":
        return f"...({key} steps)..."
    if kind in ("callee", "arguments", "kwargs"):
        return f".<{kind}>"
    if kind == "whole state":
        return ".<state>"
    if kind == "state key":
        return f".<state>[{format_key(key)}]"
    return {
        "keys": f".<keys>[{key}]",
        "member": f".<items>[{key}]",
        "args": f".<args>[{key}]",
        "state": f".<state>[{key}]",
        "flat": f".flat[{key}]",
        "persistent": f".<persistent id>[{key}]",
    }[kind]


def format_key(key: Node) -> str:
    """A key the way Python shows it, bounded: nothing of a node that is no plain value is looked into."""
    if key is None or type(key) in (bool, float, str, bytes):
        text = repr(key)
        return text if len(text) <= 200 else text[:100] + "..." + text[-90:]
    if type(key) is int:
        return repr(key) if key.bit_length() < 256 else f"<int of {key.bit_length()} bits>"
    if type(key) is tuple and len(key) <= 8 and all(part is None or type(part) in _KEY_PARTS for part in key):
        inner = ", ".join(format_key(part) for part in key)
        return f"({inner},)" if len(key) == 1 else f"({inner})"
    if type(key) is Global:
        return f"<{key.full_name[:120]}>"
    if type(key) is Call and type(key.func) is Global:
        return f"<{key.func.full_name[:120]} object>"
    return f"<{type(key).__name__}>"


_KEY_PARTS = (bool, int, float, str, bytes)
