"""Tensors made of others: nested ones, and subclasses that wrap tensors, as quantization libraries make them.

Such a tensor has no bytes of its own. Its parts have, and are kept under its key and their names; what else it is made
of (a block size, a scheme) is written down beside them. Nothing is computed: no part is put together or dequantized.
A DTensor is not taken apart, because the one part that a file has of it is no part of the whole that anybody wants.

Source: `torch/_utils.py` (`_rebuild_nested_tensor`, `_rebuild_wrapper_subclass`), `torch/_tensor.py`
(`_rebuild_from_type_v2`), `torch/nested/_internal/nested_tensor.py` (`_rebuild_njt`).
"""

from __future__ import annotations

__all__ = ["Compound", "find_compound"]

from dataclasses import dataclass, field

from mpt_format.audit._nodes import Call, DictNode, Global, Node
from mpt_format.audit._tensors import TensorRecord, find_tensor
from mpt_format.audit._walk import format_key, format_step

_NESTED = "torch._utils._rebuild_nested_tensor"
_JAGGED = "torch.nested._internal.nested_tensor._rebuild_njt"
_WRAPPER = "torch._utils._rebuild_wrapper_subclass"
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_PARAMETERS = frozenset({"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})
_NESTED_PARTS = ("values", "sizes", "strides", "offsets")
_SHARDED = "torch.distributed"
_MAX_DEPTH = 6
_MOST_PARTS = 1000
"""Tensors and attributes of one tensor, those of its parts included."""


@dataclass(slots=True, kw_only=True)
class Compound:
    """One such tensor: what it was, its parts by name, and what else it says of itself."""

    path: str
    described: str
    parts: list[tuple[str, str, TensorRecord]] = field(default_factory=list)
    """Name, path and record."""
    attributes: list[tuple[str, str, Node]] = field(default_factory=list)
    """Name, path and value of what is no tensor."""
    left: int = _MOST_PARTS


def find_compound(node: Node, path: str) -> Compound | None:
    """The parts of a tensor that has no bytes of its own; None of any other, and of one without parts."""
    record = find_tensor(node)
    if record is None or record.kind not in ("nested", "wrapper"):
        return None
    found = Compound(path=path, described=_describe(node, record))
    return found if _collect(node, "", path, found, _MAX_DEPTH) and found.parts else None


def _describe(node: Node, record: TensorRecord) -> str:
    if record.kind == "nested":
        return "a nested tensor"
    return f"a tensor of {record.subclass or 'an unknown class'} {list(record.shape)}"


def _collect(node: Node, name: str, path: str, found: Compound, depth: int) -> bool:
    """Put the parts of one tensor into `found`, each under its name; False where it cannot be taken apart."""
    if depth == 0 or not isinstance(node, Call) or type(node.func) is not Global or type(node.args) is not tuple:
        return False
    func, args = node.func.full_name, node.args
    if func in _PARAMETERS and args:
        return _collect(args[0], name, path, found, depth - 1)
    if func == _NESTED and len(args) == len(_NESTED_PARTS):
        return all(
            _add(value, f"{name}{part}", f"{path}.<args>[{at}]", found, depth)
            for at, (part, value) in enumerate(zip(_NESTED_PARTS, args, strict=True))
        )
    if func != _FROM_TYPE or len(args) < 4 or type(args[0]) is not Global or type(args[2]) is not tuple:
        return False
    if args[0].full_name == _JAGGED and len(args[2]) == 1 and type(args[2][0]) is DictNode:
        return _add_all(args[2][0], name, f"{path}.<args>[0]", found, depth, is_object=False)
    if args[0].full_name != _WRAPPER or type(args[1]) is not Global or args[1].full_name.startswith(_SHARDED):
        return False
    state = args[3][0] if type(args[3]) is tuple and args[3] else args[3]
    return type(state) is DictNode and _add_all(state, name, path, found, depth, is_object=True)


def _add_all(pairs: DictNode, name: str, path: str, found: Compound, depth: int, *, is_object: bool) -> bool:
    """Add the values of a dict by their keys: as attributes of an object, or as entries of what it was given."""
    for key, value in zip(pairs[::2], pairs[1::2], strict=False):
        if type(key) is not str:
            return False
        below = path + (format_step(("attr", key)) if is_object else f"[{format_key(key)}]")
        if not _add(value, f"{name}{key}", below, found, depth):
            return False
    return True


def _add(value: Node, name: str, path: str, found: Compound, depth: int) -> bool:
    found.left -= 1
    if found.left < 0:
        return False
    record = find_tensor(value)
    if record is None:
        found.attributes.append((name, path, value))
        return True
    if record.kind in ("nested", "wrapper"):
        return _collect(value, f"{name}.", path, found, depth - 1)
    found.parts.append((name, path, record))
    return True
