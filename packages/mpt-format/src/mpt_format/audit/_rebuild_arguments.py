"""What the functions are given that rebuild tensors: which arguments torch can make a tensor of.

Each judge answers with what is wrong, in words that follow "is called with", or None. Whatever torch ignores is not
looked at; what depends on the tensors' bytes cannot be told here.

Source: `torch/_utils.py` (`_rebuild_*`, `_set_obj_state`), `torch/_tensor.py` (`_rebuild_from_type_v2`).
"""

from __future__ import annotations

__all__ = ["REBUILD_JUDGES", "judge_parameter", "judge_parameter_state", "judge_set", "may_be_tensor"]

from collections.abc import Callable, Sequence
from functools import cache

from ._nodes import Call, DictNode, Global, Node, Persistent
from ._result_type import result_type
from ._tensors import find_counts, find_reach, find_tensor, is_tensor, storage_record
from ._torch_table import load_rules

Args = Sequence[Node]
Judge = Callable[[Args], str | None]

_FLOATING = ("float", "bfloat", "complex", "chalf", "cfloat", "cdouble", "?")
"""How the dtypes begin that can have a gradient, and the one that is not known."""
_PER_TENSOR = "torch.per_tensor_affine"
_PER_CHANNEL = ("torch.per_channel_affine", "torch.per_channel_affine_float_qparams")


@cache
def _allowed() -> dict[str, str]:
    """Every name that some torch version allows, and its kind."""
    return {name: kind for rules in load_rules().values() for name, kind in rules.allowed.items()}


def may_be_tensor(node: Node) -> bool:
    """Whether a node is a tensor, or the result of a function of which nothing is known here."""
    if not isinstance(node, Call):
        return False
    known = type(node.func) is Global and node.func.full_name in _allowed()
    return not known or is_tensor(node) or result_type(node) in ("Tensor", "Parameter")


def _may_have_gradient(node: Node) -> bool:
    record = find_tensor(node)
    return record is None or record.dtype.startswith(_FLOATING)


def _is_empty(node: Node) -> bool:
    """Whether Python takes a node for false."""
    if isinstance(node, Call):
        return result_type(node) in ("OrderedDict", "Counter", "set") and node.args == () and node.more is None
    return node is None or (type(node) in (bool, int, float, str, bytes, list, tuple, DictNode) and not node)


def _is_state(node: Node) -> bool:
    """Whether a node can be the state of an object: attributes by name, or a pair of two such."""
    parts = node if type(node) in (list, tuple) and len(node) == 2 else [node]
    return node != () and all(_is_empty(part) or _is_attributes(part) for part in parts)


def _is_attributes(node: Node) -> bool:
    if type(node) is DictNode:
        return all(type(key) is str for key in node[::2])
    return isinstance(node, Call) and result_type(node) in ("OrderedDict", "Counter")


def _judge_place(args: Args, *, length: int | None, needs_stride: bool) -> str | None:
    """Judge offset, shape and stride in a storage of so many elements, which is None where it is not known."""
    offset, sizes, steps = args
    if type(offset) is not int or offset < 0:
        return "what is no offset"
    shape, stride = find_counts(sizes), find_counts(steps)
    if shape is None:
        return "what is no shape"
    if steps is None and not needs_stride:
        stride = ()
    if stride is None or (len(stride) != len(shape) and (needs_stride or stride)):
        return "a stride that does not fit its shape"
    if not stride and shape:  # torch takes the elements one after the other
        stride = (1,) * len(shape)
        count = 1
        for size in shape:
            count *= size
        reach = count - 1 if count else None
    else:
        reach = find_reach(shape, stride)
    if length is not None and reach is not None and offset + reach >= length:
        return "a shape that reaches behind the end of its storage"
    return None


def judge_set(state: Node, dtype: str | None) -> str | None:
    """Judge the state of a tensor, which torch gives to `Tensor.set_`: a storage, its offset, a shape and a stride.

    Args:
        state: The state.
        dtype: Of the tensor, which its storage has to have; None where it is not known.
    """
    if type(state) is not tuple or len(state) not in (0, 1, 3, 4):
        return "what is no storage with its place"
    if not state:
        return None
    record = storage_record(state[0])
    if type(state[0]) is not Persistent and not may_be_tensor(state[0]):
        return "what is no storage"
    untyped = record is not None and state[0].pid[1].name == "UntypedStorage"
    if record is not None and not untyped and dtype not in (None, "?", record.dtype):
        return f"a storage of {record.dtype}"
    if len(state) == 1:
        return None
    length = record.length if record else None
    return _judge_place((*state[1:3], state[3] if len(state) == 4 else None), length=length, needs_stride=False)


def judge_parameter_state(state: Node, dtype: str | None) -> str | None:
    """Judge the state of a parameter: that of a tensor, or what torch kept before 0.4 and before 0.2."""
    if type(state) is tuple and len(state) == 3:
        return None if type(state[0]) is bool else "without a requires_grad"
    if type(state) is tuple and len(state) == 5:
        return None if may_be_tensor(state[0]) and type(state[3]) is bool else "without a tensor"
    return judge_set(state, dtype) if type(state) is tuple and len(state) == 4 else "what is no storage with its place"


def _judge_dense(args: Args, count: int) -> str | None:
    """Judge storage, offset, shape and stride, of `_rebuild_tensor` and what begins like it."""
    if len(args) < count or type(args[0]) is not Persistent:
        return "what is no storage" if args else "nothing"
    record = storage_record(args[0])
    return _judge_place(args[1:4], length=record.length if record else None, needs_stride=False)


def _judge_gradient(flag: Node, dtype: str) -> str | None:
    if type(flag) is not bool:
        return "what is neither True nor False for requires_grad"
    return None if not flag or dtype.startswith(_FLOATING) else f"requires_grad, which {dtype} cannot have"


def _judge_metadata(node: Node) -> str | None:
    return None if _is_empty(node) or type(node) is DictNode else "what is no metadata of a tensor"


def _judge_v1(args: Args) -> str | None:
    return _judge_dense(args, 4) if len(args) == 4 else _count(args, 4)


def _judge_v2(args: Args) -> str | None:
    if not 6 <= len(args) <= 7:
        return _count(args, 6)
    record = storage_record(args[0])
    return (
        _judge_dense(args, 6)
        or _judge_gradient(args[4], record.dtype if record else "?")
        or (_judge_metadata(args[6]) if len(args) == 7 else None)
    )


def _judge_v3(args: Args) -> str | None:
    if not 7 <= len(args) <= 8:
        return _count(args, 7)
    if type(args[0]) is not Persistent:
        return "what is no storage"
    dtype = _find_dtype(args[6])
    if dtype is None:
        return "what is no dtype"
    record, sizes = storage_record(args[0]), list(load_rules().values())[-1].dtype_sizes
    length = record.length * record.item_size_bytes // sizes[dtype] if record and dtype in sizes else None
    return (
        _judge_place(args[1:4], length=length, needs_stride=False)
        or _judge_gradient(args[4], dtype)
        or (_judge_metadata(args[7]) if len(args) == 8 else None)
    )


def _find_dtype(node: Node) -> str | None:
    if type(node) is not Global or _allowed().get(node.full_name, "dtype") != "dtype":
        return None
    return node.full_name.removeprefix("torch.")


def _judge_quantized(args: Args) -> str | None:
    if len(args) != 7:
        return _count(args, 7)
    if type(args[0]) is not Persistent:
        return "what is no storage"
    record = storage_record(args[0])
    if record is not None and not record.dtype.startswith(("qint", "quint")):
        return f"a storage of {record.dtype}"
    if type(args[5]) is not bool or args[5]:
        return "requires_grad, which no quantized tensor has"
    parameters = args[4]
    if type(parameters) is not tuple or not parameters or type(parameters[0]) is not Global:
        return "what is no quantizer"
    scheme = parameters[0].full_name
    place = _judge_place(args[1:4], length=record.length if record else None, needs_stride=True)
    if scheme == _PER_TENSOR:
        fits = len(parameters) == 3 and type(parameters[1]) in (int, float) and type(parameters[2]) is int
        return place if fits else "what is no quantizer"
    if scheme not in _PER_CHANNEL or len(parameters) != 4 or type(parameters[3]) is not int:
        return "what is no quantizer"
    shape = find_counts(args[2]) or ()
    if not 0 <= parameters[3] < len(shape):
        return "a quantizer of an axis that the tensor does not have"
    lengths = [_count_elements(part) for part in parameters[1:3]]
    return place if all(length in (None, shape[parameters[3]]) for length in lengths) else "what is no quantizer"


def _count_elements(node: Node) -> int | None:
    if type(node) is list:
        return len(node)
    if not may_be_tensor(node):
        return -1
    record = find_tensor(node)
    if record is None or record.kind != "dense":
        return None
    count = 1
    for size in record.shape:
        count *= size
    return count


_COMPRESSED = ("torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc")


def _judge_sparse(args: Args) -> str | None:
    if len(args) != 2:
        return _count(args, 2)
    layout, data = args
    named = layout.args if isinstance(layout, Call) and type(layout.args) is tuple else ()
    name = named[0] if len(named) == 1 else layout.full_name if type(layout) is Global else None
    if type(data) is not tuple or name not in ("torch.sparse_coo", *_COMPRESSED):
        return "what is no layout" if type(data) is tuple else "what are no parts of a sparse tensor"
    tensors = 2 if name == "torch.sparse_coo" else 3
    if not (len(data) == tensors + 1 or (len(data) == 4 and tensors == 2)):
        return "what are no parts of a sparse tensor"
    shape = find_counts(data[tensors])
    flag = data[3] if len(data) == 4 and tensors == 2 else None
    if shape is None or type(flag) not in (bool, type(None)) or not all(map(may_be_tensor, data[:tensors])):
        return "what are no parts of a sparse tensor"
    *indices, values = (find_tensor(part) for part in data[:tensors])
    if tensors == 2 and indices[0] is not None and values is not None and indices[0].kind == values.kind == "dense":
        rows = indices[0].shape
        fits = len(rows) == 2 and values.shape[:1] == rows[1:] and len(shape) == rows[0] + len(values.shape) - 1
        return None if fits and values.shape[1:] == shape[rows[0] :] else "indices that do not fit its values"
    return None


def judge_parameter(args: Args) -> str | None:
    """Judge the tensor of a Parameter and whether it has a gradient, which it has by default."""
    if args and args[0] is not None and not may_be_tensor(args[0]):
        return "what is no tensor"
    flag = args[1] if len(args) > 1 else True
    if type(flag) is not bool:
        return "what is neither True nor False for requires_grad"
    if flag and args and args[0] is not None and not _may_have_gradient(args[0]):
        return "requires_grad, which its numbers cannot have"
    return None


def _judge_with_state(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    return judge_parameter(args) or (None if _is_state(args[3]) else "what is no state")


def _judge_rebuilt_parameter(args: Args) -> str | None:
    return judge_parameter(args) if len(args) == 3 else _count(args, 3)


def _judge_from_type(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    function, kind, inner, state = args
    if type(inner) not in (tuple, list) or type(function) is not Global or type(kind) is not Global:
        return "what rebuilds no tensor"
    if _allowed().get(kind.full_name, "class") != "class" or kind.full_name in _NO_TENSORS:
        return "what is no class of a tensor"
    if not _is_state(state):
        return "what is no state"
    judge = REBUILD_JUDGES.get(function.full_name)
    if judge is None or judge is _judge_from_type:
        return "what rebuilds no tensor" if function.full_name in _allowed() else None
    return judge(inner)


_NO_TENSORS = frozenset(
    {
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
    }
)


def _judge_from_cpu(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    if not may_be_tensor(args[0]):
        return "what is no tensor"
    if args[1] is not None and _find_dtype(args[1]) is None:
        return "what is no dtype"
    record = find_tensor(args[0])
    return _judge_gradient(args[3], _find_dtype(args[1]) or (record.dtype if record else "?"))


def _judge_from_numpy(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    known = isinstance(args[0], Call) and type(args[0].func) is Global and args[0].func.full_name in _allowed()
    return "what is no NumPy array" if known or not isinstance(args[0], Call) else None


def _judge_meta(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    dtype = _find_dtype(args[0])
    if args[0] is not None and dtype is None:
        return "what is no dtype"
    if args[3] is None:
        return _judge_place((0, *args[1:3]), length=None, needs_stride=True)
    return _judge_place((0, *args[1:3]), length=None, needs_stride=True) or _judge_gradient(args[3], dtype or "?")


_JAGGED_TENSORS = ("values", "offsets")


def _judge_jagged(args: Args) -> str | None:
    """Judge the keyword arguments of a jagged tensor, as `NestedTensor.__reduce_ex__` gives them."""
    if len(args) != 1 or type(args[0]) is not DictNode:
        return "what are no parts of a jagged tensor"
    given = {key: value for key, value in zip(args[0][::2], args[0][1::2], strict=True) if type(key) is str}
    known = {*_JAGGED_TENSORS, "lengths", "_ragged_idx", "_metadata_cache", "requires_grad"}
    whole = given.keys() <= known and all(may_be_tensor(given.get(name)) for name in _JAGGED_TENSORS)
    fits = whole and (given.get("lengths") is None or may_be_tensor(given["lengths"]))
    return None if fits and type(given.get("_ragged_idx", 1)) is int else "what are no parts of a jagged tensor"


def _judge_nested(args: Args) -> str | None:
    if len(args) != 4:
        return _count(args, 4)
    if not all(map(may_be_tensor, args)):
        return "what is no tensor"
    tables = zip(map(find_tensor, args[1:]), (2, 2, 1), strict=True)
    fits = all(table is None or table.kind != "dense" or len(table.shape) == axes for table, axes in tables)
    return None if fits else "sizes that are no table"


def _judge_nested_class(args: Args) -> str | None:
    return "what no writer gives it: its tensors are made by _rebuild_njt"


def _judge_wrapper(args: Args) -> str | None:
    if len(args) != 8:
        return _count(args, 8)
    if type(args[0]) is not Global or args[0].full_name in _allowed():
        return "what is no wrapper of tensors"
    return None


def _count(args: Args, least: int) -> str:
    return f"{len(args)} arguments, where it takes {least}"


REBUILD_JUDGES: dict[str, Judge] = {
    "torch._utils._rebuild_tensor": _judge_v1,
    "torch._utils._rebuild_tensor_v2": _judge_v2,
    "torch._utils._rebuild_tensor_v3": _judge_v3,
    "torch._utils._rebuild_qtensor": _judge_quantized,
    "torch._utils._rebuild_sparse_tensor": _judge_sparse,
    "torch._utils._rebuild_parameter": _judge_rebuilt_parameter,
    "torch._utils._rebuild_parameter_with_state": _judge_with_state,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _judge_from_cpu,
    "torch._utils._rebuild_device_tensor_from_numpy": _judge_from_numpy,
    "torch._utils._rebuild_meta_tensor_no_storage": _judge_meta,
    "torch._utils._rebuild_wrapper_subclass": _judge_wrapper,
    "torch._utils._rebuild_nested_tensor": _judge_nested,
    "torch.nested._internal.nested_tensor._rebuild_njt": _judge_jagged,
    "torch.nested._internal.nested_tensor.NestedTensor": _judge_nested_class,
    "torch._tensor._rebuild_from_type_v2": _judge_from_type,
}
"""Function -> the judge of its arguments."""
