"""What SETITEM(S), APPEND(S) and ADDITEMS do to their target: fill a container, or be an event and part of a call.

A plain container takes its items in silence. Anything else that is changed is logged, because a real unpickler would
run a method of it.
"""

from __future__ import annotations

__all__ = ["add_items", "append_items", "set_items"]

from ._nodes import ByteArray, Call, DictNode, Node, SetNode
from ._stream import ADDITEM, APPEND, SETITEM, Event, Malformed

_UNHASHABLE = frozenset({list, DictNode, ByteArray})


def set_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    """Put keys and values, one after the other in `items`, into a target."""
    if len(items) % 2:
        raise Malformed("a dict has a key without a value")
    kind = type(target)
    if kind is DictNode:
        if not _UNHASHABLE.isdisjoint(map(type, items[::2])):
            raise Malformed("a dict key is a list or a dict")  # every unpickler stops here
        target.extend(items)
        return
    log.append((offset, SETITEM, target))
    if isinstance(target, Call):
        target.add_pairs(items)


def append_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    """Append to a target that is no list."""
    log.append((offset, APPEND, target))
    if isinstance(target, Call):
        target.add_items(items)


def add_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    """Add to a set, or to what stands for one."""
    if type(target) is SetNode and not target.frozen:
        target.extend(items)
        return
    log.append((offset, ADDITEM, target))
    if isinstance(target, Call):
        target.add_items(items)
