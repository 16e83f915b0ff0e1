"""What is inside a file: the root's type, its top level with shapes, and totals.

Describes nodes in words of Python types; looks one level deep and never into tensor bytes.
"""

from __future__ import annotations

__all__ = ["describe_node", "describe_root", "describe_totals", "find_flavour", "key_value_pairs"]

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mpt_format.errors import escape_text

from ._container import Container
from ._judge import find_bytes, find_callee_name
from ._limits import Limits
from ._nodes import BigInt, ByteArray, Call, DictNode, Global, Node, Persistent, SetNode
from ._result import Severity, TopLevelEntry
from ._stream import Stream
from ._tensors import TensorRecord, is_tensor, outline_tensor, storage_record
from ._walk import format_key

_CLASS_FIRST = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


def describe_node(node: Node) -> tuple[str, TensorRecord | None]:
    """The type of a node in words, with its length where it has one, and the outline of a tensor if it is one."""
    kind = type(node)
    if kind is DictNode:
        return f"dict[{len(node) // 2}]", None
    if kind is list or kind is tuple:
        return f"{kind.__name__}[{len(node)}]", None
    if kind is SetNode:
        return f"{'frozenset' if node.frozen else 'set'}[{len(node)}]", None
    if kind is ByteArray:
        return f"bytearray[{len(node.data)}]", None
    if kind in (bytes, memoryview):
        return f"bytes[{len(node)}]", None
    if kind is BigInt:
        return "int", None
    if kind is Global:
        return f"<{escape_text(node.full_name[:200])}>", None
    if kind is Persistent:
        return "storage" if storage_record(node) else "persistent object", None
    if not isinstance(node, Call):
        return kind.__name__, None
    tensor = outline_tensor(node)
    if tensor is not None:
        return _describe_tensor(tensor), tensor
    raw = find_bytes(node)
    if raw is not None:
        return f"bytes[{len(raw)}]", None
    name = find_callee_name(node.func) or "computed object"
    args = node.args
    if name in _CLASS_FIRST and type(args) is tuple and args and type(args[0]) is Global:
        name = args[0].full_name
    pairs = key_value_pairs(node)
    short = name.removeprefix("builtins.").removeprefix("collections.")
    if pairs is not None and (pairs or short in ("OrderedDict", "Counter", "defaultdict", "dict")):
        return f"{escape_text(short[:200])}[{len(pairs)}]", None
    if node.items is not None:
        return f"{escape_text(short[:200])}[{len(node.items)}]", None
    return escape_text(short[:200]), None


def _describe_tensor(tensor: TensorRecord) -> str:
    word = "Parameter" if tensor.parameter else "Tensor"
    if tensor.kind != "dense":
        word = f"{tensor.kind} {word}"
    if tensor.subclass:
        word = f"{escape_text(tensor.subclass[:120])} ({word})"
    return word


def key_value_pairs(node: Node) -> list[tuple[Node, Node]] | None:
    """The items of a mapping in file order, or None when the node is no mapping."""
    if type(node) is DictNode:
        return list(zip(node[::2], node[1::2], strict=False))
    if not isinstance(node, Call):
        return None
    found: list[tuple[Node, Node]] = []
    args = node.args if type(node.args) is tuple else ()
    name = find_callee_name(node.func) or ""
    if args and name.rpartition(".")[2] in ("OrderedDict", "Counter", "defaultdict", "dict"):
        last = args[-1]
        if type(last) is DictNode:
            found.extend(zip(last[::2], last[1::2], strict=False))
        elif type(last) is list:
            found.extend((pair[0], pair[1]) for pair in last if type(pair) in (list, tuple) and len(pair) == 2)
    if node.pairs is not None:
        found.extend(zip(node.pairs[::2], node.pairs[1::2], strict=False))
    if found or (node.pairs is not None) or name in ("collections.OrderedDict", "collections.Counter"):
        return found
    return None


def describe_root(
    container: Container, stream: Stream | None, limits: Limits
) -> tuple[str | None, list[TopLevelEntry]]:
    """The root's type and the entries of its top level."""
    if stream is None:
        return None, [
            TopLevelEntry(key=escape_text(repr(name)[:200]), type="Tensor", shape=shape, dtype=dtype)
            for name, dtype, shape in container.tensors
        ]
    root = stream.root
    root_type, _ = describe_node(root)
    entries: Iterable[tuple[str, Node]]
    pairs = key_value_pairs(root)
    if pairs is not None:
        entries = ((format_key(key), value) for key, value in pairs)
    elif type(root) in (list, tuple):
        entries = ((str(at), value) for at, value in enumerate(root))
    elif isinstance(root, Call) and root.states:
        state = root.states[0]
        entries = (
            (f".{key}" if type(key) is str else format_key(key), value) for key, value in key_value_pairs(state) or ()
        )
    else:
        entries = ()
    top_level = []
    for key, value in entries:
        described, tensor = describe_node(value)
        if tensor is not None:
            entry = TopLevelEntry(key=escape_text(key), type=described, shape=tensor.shape, dtype=tensor.dtype)
        else:
            entry = TopLevelEntry(key=escape_text(key), type=described)
        top_level.append(entry)
        if len(top_level) > limits.top_level:
            break
    return root_type, top_level


def describe_totals(container: Container, findings: Mapping[Severity, int]) -> dict[str, Any]:
    """Counts over all pickles of the file."""
    names: Counter[str] = Counter()
    calls = tensors = 0
    storages = storage_bytes = 0
    for candidate in container.candidates:
        summary = candidate.get_summary(container.storage_fields)
        names.update(summary.names)
        calls += summary.calls
        tensors += summary.persistent
        storages += len(summary.storages)
        storage_bytes += sum(summary.get_sizes().values())
    if container.without_pickle:
        tensors = len(container.tensors)
    return {
        "pickles": len(container.candidates),
        "globals": {escape_text(name[:200]): count for name, count in sorted(names.items())[:500]},
        "calls": calls,
        "tensors": tensors,
        "storages": storages,
        "storage_bytes": storage_bytes,
        "findings": dict(findings),
    }


def find_flavour(container: Container) -> str | None:
    """Which tool wrote a checkpoint, told by the keys of its root."""
    root = container.get_root()
    pairs = key_value_pairs(root.stream.root) if root is not None and root.stream.complete else None
    if not pairs:
        return None
    keys = {key for key, _ in pairs if type(key) is str}
    if "pytorch-lightning_version" in keys:
        return "written by PyTorch Lightning"
    if {"model_state_dict", "optimizer_state_dict"} <= keys:
        return "a training checkpoint: model and optimizer state"
    if all(is_tensor(value) for _, value in pairs):
        return "a bare state dict"
    return None
