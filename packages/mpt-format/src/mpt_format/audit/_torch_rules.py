"""What `torch.load(weights_only=True)` of each supported torch version accepts, and what it would say to a pickle.

`find_refusal` replays the log of a pickle against one version's rules (`_torch_table`), in file order, and returns the
first thing that version stops at. It imports no torch.

Source: `torch/_weights_only_unpickler.py` and `torch/serialization.py` of the versions in the table.
"""

from __future__ import annotations

__all__ = ["Refusal", "find_refusal", "torch_name"]

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from ._arguments import JUDGED, find_misuse
from ._exceptions import judge_state
from ._nodes import Call, DictNode, Ext, Global, Node, Persistent, Unresolvable
from ._opcodes import opcode_name
from ._rebuild_arguments import judge_parameter_state, judge_set
from ._result_type import result_type
from ._stream import APPEND, BUILD, NOTE, SETITEM, Event
from ._tensors import find_tensor
from ._torch_table import Rules

_NEWOBJ = 0x81
_LEGACY_FIELDS = 6
"""A storage's persistent id in a legacy file ends in its view metadata."""
_DTENSOR = "torch.distributed.tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Where one torch version stops, and what it says there."""

    offset: int
    reason: str
    node: Any = None


def find_refusal(
    log: list[Event],
    rules: Rules,
    *,
    also_allowed: AbstractSet[str] = frozenset(),
    storages: AbstractSet[str] | None = None,
    storage_fields: int = 5,
) -> Refusal | None:
    """The first event of a log that this torch version refuses under `weights_only=True`, or None.

    Args:
        log: The log of one pickle stream.
        rules: The rules of one torch version.
        also_allowed: Names given to `torch.serialization.add_safe_globals`.
        storages: Keys of the storage records that the container has; None when it has none to check.
        storage_fields: Length of a storage's persistent id: 5 in a torch zip, 6 in a legacy file.
    """
    allowed = rules.allowed
    for event in log:
        kind = type(event)
        refusal: Refusal | None = None
        if isinstance(event, Call):
            func = event.func
            plain = type(func) is Global and event.op == 0x52 and type(event.args) is tuple
            if plain and allowed.get(func.full_name) == "function" and func.full_name not in JUDGED:
                continue
            refusal = _judge_call(event, rules, also_allowed)
        elif kind is Persistent:
            refusal = _judge_storage(event, rules, storages, storage_fields)
        elif kind is Global:
            if event.full_name in allowed and event.module not in rules.blocked_modules:
                continue
            refusal = _judge_import(event, rules, also_allowed)
        elif kind is tuple:
            refusal = _judge_change(event, rules, also_allowed)
        elif kind is Ext or kind is Unresolvable:
            refusal = Refusal(offset=event.offset, reason="Unsupported operand", node=event)
        if refusal is not None:
            return refusal
    return None


def torch_name(node: Global) -> str:
    """The name under which torch looks a global up: most versions do not translate Python 2's module `exceptions`."""
    return node.spelled if node.spelled.startswith("exceptions.") else node.full_name


def _judge_import(node: Global, rules: Rules, also_allowed: AbstractSet[str]) -> Refusal | None:
    name = node.full_name
    if node.module in rules.blocked_modules:
        return Refusal(
            offset=node.offset,
            reason=f"Trying to load unsupported GLOBAL {name} whose module {node.module} is blocked.",
            node=node,
        )
    if torch_name(node) in also_allowed:
        return None
    if name.startswith(_DTENSOR) or name == "torch.distributed.device_mesh.DeviceMesh":
        return Refusal(
            offset=node.offset, reason="`torch.distributed.tensor` must be imported to load DTensors", node=node
        )
    shown = torch_name(node).removeprefix("builtins.")
    return Refusal(
        offset=node.offset,
        reason=f"Unsupported global: GLOBAL {shown} was not an allowed global by default.",
        node=node,
    )


def _judge_call(node: Call, rules: Rules, also_allowed: AbstractSet[str]) -> Refusal | None:
    func = node.func
    name = func.full_name if type(func) is Global else None
    known = rules.allowed.get(name) if name else None
    if name is None or (known is None and torch_name(func) not in also_allowed):
        verb = "create new object for" if node.op == _NEWOBJ else "call reduce for unrecognized function"
        return Refusal(offset=node.offset, reason=f"Trying to {verb} {name or result_type(func)}", node=node)
    if known in ("dtype", "value", "storage") or (node.op == _NEWOBJ and known == "function"):
        return Refusal(offset=node.offset, reason=f"TypeError: {name} cannot be called", node=node)
    if type(node.args) not in (tuple, list, DictNode):
        return Refusal(offset=node.offset, reason=f"TypeError: the arguments of {name} are no tuple", node=node)
    misuse = find_misuse(node)
    return None if misuse is None else Refusal(offset=node.offset, reason=misuse, node=node)


def _judge_storage(
    node: Persistent, rules: Rules, storages: AbstractSet[str] | None, storage_fields: int
) -> Refusal | None:
    pid = node.pid
    if type(pid) is not tuple or not pid or pid[0] not in ("storage", b"storage"):
        return Refusal(offset=node.offset, reason="Only persistent_load of storage is allowed", node=node)
    if len(pid) != storage_fields or type(pid[1]) is not Global or rules.allowed.get(pid[1].full_name) != "storage":
        return Refusal(offset=node.offset, reason="a persistent id that names no storage", node=node)
    if storage_fields == _LEGACY_FIELDS and pid[1].name == "UntypedStorage":
        return Refusal(offset=node.offset, reason="AttributeError: UntypedStorage has no attribute 'dtype'", node=node)
    if type(pid[4]) is not int:
        return Refusal(offset=node.offset, reason="a storage without a length", node=node)
    if storages is not None and (type(pid[2]) is not str or pid[2] not in storages):
        return Refusal(offset=node.offset, reason=f"the record data/{str(pid[2])[:40]} is not in the file", node=node)
    return None


def _judge_change(event: Any, rules: Rules, also_allowed: AbstractSet[str]) -> Refusal | None:
    offset, kind, node = event
    if kind == NOTE:
        if abs(node) in rules.opcodes and node > 0:
            return None
        if node < 0:
            return Refusal(offset=offset, reason="UnicodeDecodeError: a byte string is not UTF-8")
        return Refusal(offset=offset, reason=f"Unsupported operand {node} ({opcode_name(node)})")
    if kind == BUILD:
        target, state = node
        return _judge_build(offset, target, state, rules, also_allowed)
    found = result_type(node)
    if kind == APPEND:
        if rules.appends_to_subclasses and (
            rules.allowed.get(found) == "list" or (found in also_allowed and found not in _NO_LISTS)
        ):
            return None
        return Refusal(offset=offset, reason=f"Can only append to lists, but got {found}", node=node)
    if kind == SETITEM:
        if rules.set_item_types is not None and found not in rules.set_item_types:
            return Refusal(
                offset=offset,
                reason=f"Can only SETITEM for dict, collections.OrderedDict, collections.Counter, but got {found}",
                node=node,
            )
        if found in ("list", "tuple", "set", "str", "int", "float", "NoneType", "bytes", "storage"):
            return Refusal(offset=offset, reason=f"TypeError: {found} takes no keys", node=node)
        return None
    return Refusal(offset=offset, reason=f"Unsupported operand on {found}", node=node)


def _find_dtype(target: Node, found: str, rules: Rules) -> str | None:
    """The dtype of a tensor, told by what makes it, or by its class of torch before 0.4."""
    record = find_tensor(target)
    return record.dtype if record else rules.storage_dtypes.get(found.rpartition(".")[2].replace("Tensor", "Storage"))


_NO_LISTS = frozenset({"collections.deque"})
"""Classes that are appended to and are no subclasses of list."""
_NO_STATE = ("list", "dict", "tuple", "str", "int", "float", "NoneType", "bool", "bytes", "storage", "frozenset")


def _judge_build(
    offset: int, target: Node, state: Node, rules: Rules, also_allowed: AbstractSet[str]
) -> Refusal | None:
    found = result_type(target)
    if found in ("Tensor", "Parameter") or rules.allowed.get(found) == "tensor":
        judge = judge_parameter_state if found == "Parameter" else judge_set
        reason = judge(state, _find_dtype(target, found, rules))
        if reason is not None:
            return Refusal(offset=offset, reason=f"the state of a {found} is {reason}", node=target)
        return None
    if found == "OrderedDict":
        if type(state) is DictNode or result_type(state) in ("OrderedDict", "Counter"):
            return None
        return Refusal(offset=offset, reason="TypeError: the state of an OrderedDict is no dict", node=target)
    if found == "Counter":
        return None
    # an exception that is allowed under Python 2's name of its module is the same class
    by_hand = found in also_allowed or found.replace("builtins.", "exceptions.", 1) in also_allowed
    if (found in rules.allowed or by_hand) and found not in _NO_STATE:
        if rules.allowed.get(found) in ("class", "list") and not by_hand and state is not None:
            reason = judge_state(found, state)
            return None if reason is None else Refusal(offset=offset, reason=reason, node=target)
        return None
    return Refusal(
        offset=offset,
        reason=(
            "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, "
            f"but got {found}"
        ),
        node=target,
    )
