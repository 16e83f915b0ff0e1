"""Paths: where in the loaded object every node of a pickle lies.

One iterative walk in file order with parent pointers. The first path to a node wins; further references are counted and
the first few of them kept. Depth, cycles and self-similar graphs cost no more than their edges. A path is written the
way Python would reach the object: `root['a'].state[0]`, keys by `repr`, `.name` for attributes, `.<args>[i]` for what a
constructor was given.
"""

from __future__ import annotations

__all__ = ["Walk", "child_steps", "format_key", "format_step", "state_attributes", "walk_graph"]

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from ._limits import Limits
from ._names_known import is_exception
from ._nodes import BigInt, ByteArray, Call, DictNode, Global, Node, Persistent, SetNode, TensorCall, find_class
from ._summary import is_plain_storage

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, memoryview, BigInt, ByteArray})
"""Nodes without parts that carry no code; bytes are walked to only when asked for."""

_CONTAINERS = frozenset({DictNode, list, tuple})

Edge = tuple[str, Any]
"""What leads from a parent to a child: a kind of step and its key, index or name."""

Children = Iterator[tuple[int, Node]]
"""Children of a node, each with its position among all of them."""

_REDUCE = 0x52

_MAX_ALSO = 16


class Walk:
    """The nodes that can be reached from a root, each with its first path and how often it is referred to.

    A path is kept as the index of the parent and a position among its children; words are made for those that are
    printed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.nodes: list[Node] = []
        self._parents: list[int] = []
        self._positions: list[int] = []
        self.index: dict[int, int] = {}
        """Id of a node -> its position in the walk."""
        self.references: dict[int, int] = {}
        """Index of a node -> how often it is referred to, where that is more than once."""
        self._also: dict[int, list[tuple[int, int]]] = {}
        self.callees: set[int] = set()
        """Ids of the globals that are called, or that say which class a call makes."""
        self._last_call: tuple[int, list[Edge]] = (-1, [])

    def format_path(self, index: int) -> str:
        """The first path to the node at `index`."""
        return self._format(self._parents[index], self._positions[index])

    def format_other_paths(self, index: int) -> list[str]:
        """Further paths to the same object, as many as were kept."""
        return [self._format(parent, position) for parent, position in self._also.get(index, ())]

    def _format(self, parent: int, position: int) -> str:
        """The path that ends with the child at a position of a parent; the middle of a long one is elided."""
        steps = []
        while parent >= 0:
            steps.append((parent, position))
            parent, position = self._parents[parent], self._positions[parent]
        half = self._limits.path_steps // 2
        cut = len(steps) - self._limits.path_steps
        words = [format_step(self._find_edge(*step)) for step in (steps if cut <= 0 else steps[:half])]
        if cut > 0:
            words.append(format_step(("cut", cut)))
            words += [format_step(self._find_edge(*step)) for step in steps[-half:]]
        return "root" + "".join(reversed(words))

    def _find_edge(self, parent: int, position: int) -> Edge:
        """What leads from a parent to the child at a position."""
        node = self.nodes[parent]
        kind = type(node)
        if kind is DictNode:
            return ("key", node[position - 1]) if position % 2 else ("keys", position // 2)
        if kind is list or kind is tuple:
            return "item", position
        if kind is SetNode:
            return "member", position
        if kind is Persistent:
            return "persistent", position
        if self._last_call[0] != parent:  # findings come in file order: mostly of the same parent
            self._last_call = parent, [step for _, step in _parts(node, set())]
        return self._last_call[1][position]

    def add_reference(self, index: int, parent: int, position: int) -> None:
        """Count one more reference to a node that was reached before."""
        self.references[index] = self.references.get(index, 1) + 1
        also = self._also.setdefault(index, [])
        if len(also) < _MAX_ALSO:
            also.append((parent, position))


def walk_graph(
    root: Node, limits: Limits, *, with_bytes: bool = False, changed: AbstractSet[int] | None = None
) -> Walk:
    """Walk everything that `root` reaches, in the order in which the pickle made it.

    Args:
        root: The object of a stream.
        limits: Bounds for the printed paths.
        with_bytes: Whether byte strings and long integers are nodes of their own.
        changed: Ids of the dicts, lists and tuples that are nodes although they hold nothing but plain values; None
            where all of them are.
    """
    walk = Walk(limits)
    nodes, parents, positions, index = walk.nodes, walk._parents, walk._positions, walk.index
    plain = _PLAIN - {bytes, memoryview, BigInt, ByteArray} if with_bytes else _PLAIN
    meanings: dict[int, int] = {}  # id of a callee -> what its arguments are
    children: Children = iter([(0, root)])
    parent = -1
    pending: list[tuple[Children, int]] = []
    while True:
        for position, node in children:
            kind = type(node)
            below: Children | None
            if kind is TensorCall and parent >= 0 and node.is_untouched():
                continue
            if kind is Call or kind is TensorCall:
                func, args = node.func, node.args
                meaning = meanings.get(id(func))
                if meaning is None:
                    meaning = meanings[id(func)] = _classify(func)
                usual = node.more is None and node.op == _REDUCE and type(args) is tuple
                if usual and parent >= 0:
                    if meaning == _TEXT_CALL:
                        if _TEXTS.issuperset(map(type, args)):
                            continue
                    elif meaning == _TENSOR_CALL and _is_inert_tensor(args):
                        continue
                new = len(nodes)
                here = index.setdefault(id(node), new)
                if here != new:
                    walk.add_reference(here, parent, position)
                    continue
                if usual and meaning != _SPECIAL_CALL:  # the same as what `_parts` says, in less time
                    only = args[0] if len(args) == 1 else None
                    if type(only) is Call and meanings.get(id(only.func)) == _TEXT_CALL and _is_inert_text(only):
                        below = None
                    else:
                        below = None if plain.issuperset(map(type, args)) else enumerate(args)
                else:
                    below = enumerate(_children(node, walk.callees))
            elif kind in plain and parent >= 0:
                continue
            elif (
                changed is not None
                and kind in _CONTAINERS
                and parent >= 0
                and id(node) not in changed
                and plain.issuperset(map(type, node))
            ):
                continue  # such as the version of each module: half of the nodes of a state dict
            else:
                new = len(nodes)
                here = index.setdefault(id(node), new)
                if here != new:
                    if kind is not tuple or node:  # the empty tuple is one object everywhere
                        walk.add_reference(here, parent, position)
                    continue
                if kind in _CONTAINERS or kind is SetNode:
                    below = enumerate(node)
                else:
                    below = _persistent_parts(node, walk.callees) if kind is Persistent else None
            nodes.append(node)
            parents.append(parent)
            positions.append(position)
            if below is not None:
                pending.append((children, parent))
                children, parent = below, new
                break
        else:
            if not pending:
                walk.callees.update(func for func, meaning in meanings.items() if meaning != _SPECIAL_CALL)
                return walk
            children, parent = pending.pop()


def _children(call: Call, callees: set[int]) -> list[Node]:
    """What `_parts` gives, without the steps; at once for an OrderedDict that is made empty, as every state dict is."""
    func, more = call.func, call.more
    if type(func) is Global and type(call.args) is tuple and not call.args:
        if more is None:
            callees.add(id(func))
            return []
        if more.pairs is not None and more.items is None and more.kwargs is None:
            callees.add(id(func))
            children = more.pairs[: len(more.pairs) // 2 * 2]
            for state in more.states or ():
                children += [child for child, _ in _state_parts(func.full_name, state)]
            return children
    return [child for child, _ in _parts(call, callees)]


_SPECIAL_CALL, _PLAIN_CALL, _TEXT_CALL, _TENSOR_CALL = range(4)
"""What the function of a call says about its arguments: they mean something of their own, they are parts of the result,
or they usually are inert: nothing below them can be a finding."""


def _classify(func: Node) -> int:
    if type(func) is not Global or func.full_name in _SPECIAL:
        return _SPECIAL_CALL
    if func.full_name == "_codecs.encode":
        return _TEXT_CALL
    return _TENSOR_CALL if func.full_name == "torch._utils._rebuild_tensor_v2" else _PLAIN_CALL


def _persistent_parts(node: Persistent, callees: set[int]) -> Children:
    """What a persistent id consists of; the class of a storage is noted and left out."""
    pid = node.pid
    if type(pid) is not tuple:
        return iter([(0, pid)])
    if len(pid) > 1 and type(pid[1]) is Global:
        callees.add(id(pid[1]))
        return iter([(at, child) for at, child in enumerate(pid) if at != 1])
    return enumerate(pid)


def _is_inert_text(call: Call) -> bool:
    """Whether a call of an encoder encodes text and nothing else."""
    args = call.args
    return call.more is None and call.op == _REDUCE and type(args) is tuple and _TEXTS.issuperset(map(type, args))


def _is_inert_tensor(args: tuple[Node, ...]) -> bool:
    """Whether these arguments rebuild a dense tensor and hold nothing else."""
    if len(args) != 6 or not is_plain_storage(args[0]):
        return False
    hooks = args[5]
    return (
        type(args[1]) is int
        and type(args[2]) is tuple
        and type(args[3]) is tuple
        and _INTEGERS.issuperset(map(type, args[2]))
        and _INTEGERS.issuperset(map(type, args[3]))
        and type(args[4]) is bool
        and isinstance(hooks, Call)
        and type(hooks.func) is Global
        and hooks.func.full_name == "collections.OrderedDict"
        and hooks.args == ()
        and hooks.more is None
    )


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
    elif isinstance(node, Call):
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
            yield before, _argument_step(name, 0)
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
    elif name in _NAMED_BY_ARGUMENTS:  # what names a class or function for the call is no part of the result
        told = _NAMED_BY_ARGUMENTS[name]
        callees.update(id(child) for child in args[:told] if type(child) is Global)
        for at, child in enumerate(args):
            if at >= told or type(child) is not Global:
                yield child, ("args", at)
    elif call.op == 0x81 and not more and args and name not in _PLAIN_CONSTRUCTORS:
        for at, child in enumerate(args):  # a namedtuple: its arguments are its items
            yield child, ("item", at)
    else:
        for at, child in enumerate(args):
            yield child, _argument_step(name, at)
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


def _argument_step(name: str, at: int) -> Edge:
    """How the finished object shows what its constructor was given, where it does."""
    if name == "datetime.timezone" and at == 0:
        return "method", "utcoffset(None)"
    if is_exception(name):
        return "item of args", at
    shown = _ARGUMENT_NAMES.get(name, ())
    return ("attr", shown[at]) if at < len(shown) and shown[at] else ("args", at)


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
_NAMED_BY_ARGUMENTS = {"builtins.getattr": 1, "torch._tensor._rebuild_from_type_v2": 2}
"""Functions whose first so many arguments say what is called or made."""
_SPECIAL = _MAPPINGS | _SEQUENCES | _CLASS_FIRST | _NAMED_BY_ARGUMENTS.keys()
_ARGUMENT_NAMES: dict[str, tuple[str, ...]] = {
    "datetime.datetime": ("", "tzinfo"),
    "datetime.time": ("", "tzinfo"),
    "builtins.slice": ("start", "stop", "step"),
    "builtins.range": ("start", "stop", "step"),
    "collections.defaultdict": ("default_factory",),
    "functools.partial": ("func",),
    "numpy.core.multiarray.scalar": ("dtype",),
    "numpy._core.multiarray.scalar": ("dtype",),
    "numpy.core.numeric._frombuffer": ("", "dtype"),
    "numpy._core.numeric._frombuffer": ("", "dtype"),
}
"""Attributes that hold the arguments of a constructor, in their order; empty for what no attribute shows."""
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
        "method": f".{key}",
        "item of args": f".args[{key}]",
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
    if isinstance(key, Call) and type(key.func) is Global:
        return f"<{key.func.full_name[:120]} object>"
    return f"<{type(key).__name__}>"


_KEY_PARTS = (bool, int, float, str, bytes)
