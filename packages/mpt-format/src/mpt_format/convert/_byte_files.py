"""A torch file that another one keeps as a byte string: it takes the place of the bytes, so that paths lead into it.

d3rlpy writes its `.d3` files so: an object with the configuration as text and everything that torch saved as bytes.
One byte string is opened, and only in an object that names no tensors itself, since both would number their records.

Source: `d3rlpy/algos/base` (`save`), `torch/serialization.py`.
"""

from __future__ import annotations

__all__ = ["open_byte_file"]

from collections.abc import Iterator

from mpt_format.audit._container import Container
from mpt_format.audit._containers import open_container
from mpt_format.audit._judge import find_bytes
from mpt_format.audit._limits import Limits
from mpt_format.audit._machine import Buffer
from mpt_format.audit._nodes import ByteArray, Call, DictNode, Node
from mpt_format.audit._walk import format_key
from mpt_format.errors import ConversionError

from ._source import search_states

_MAX_SEARCHED = 10_000
_LEAST_BYTES = 64
_KINDS = ("torch-zip", "legacy")


def open_byte_file(container: Container, state_path: str | None, limits: Limits) -> tuple[Buffer, Container] | None:
    """The bytes of the torch file inside an object, and a container in which the object leads into it.

    Args:
        container: Of the outer file.
        state_path: Where the state dict is; it chooses among several byte strings by beginning with the path of one.
        limits: Of the inner file.

    Raises:
        ConversionError: There are several and no path says which, or the one that is chosen is damaged.
    """
    outer = container.get_root()
    if outer is None or not outer.stream.complete or outer.get_summary(container.storage_fields).storages:
        return None
    if next(search_states(outer.stream.root), None) is not None:
        return None
    found = [place for place in _find_places(outer.stream.root) if _is_torch_file(place[2])]
    if len(found) > 1:
        found = [place for place in found if (state_path or "").startswith(place[3])] or found
    if len(found) > 1:
        listed = ", ".join(path for _, _, _, path in found[:12])
        raise ConversionError(f"several torch files are kept as byte strings: {listed}; choose one with --state-path")
    for holder, at, content, path in found:
        inner = open_container(content, limits, name=path, nesting=1)
        if inner.problems:
            raise ConversionError(f"the torch file at {path} is malformed: {inner.problems[0]}", verdict="malformed")
        root = inner.get_root()
        if root is None or not root.stream.complete:
            continue
        holder[at] = root.stream.root
        root.stream.root = outer.stream.root
        return content, inner
    return None


def _is_torch_file(content: bytes) -> bool:
    """Whether bytes begin as a zip or as a pickle; more is told when they are opened."""
    return len(content) >= _LEAST_BYTES and content[:4] in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def _find_places(root: Node) -> Iterator[tuple[list[Node], int, bytes, str]]:
    """Byte strings in the dicts and lists of an object: what holds them, at which index, and their paths."""
    pending: list[tuple[Node, str]] = [(root, "root")]
    seen: set[int] = set()
    while pending and len(seen) < _MAX_SEARCHED:
        node, path = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        holder: list[Node] | None = node if isinstance(node, list) else None
        if isinstance(node, Call):
            holder = node.pairs
        if holder is None:
            continue
        keyed = isinstance(holder, DictNode)
        for at in range(1, len(holder), 2) if keyed else range(len(holder)):
            value = holder[at]
            below = f"{path}[{format_key(holder[at - 1]) if keyed else at}]"
            content = bytes(value.data) if type(value) is ByteArray else find_bytes(value)
            if content is not None:
                yield holder, at, content, below
            elif isinstance(value, list | Call):
                pending.append((value, below))
