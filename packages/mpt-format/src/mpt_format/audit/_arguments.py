"""What allowed functions are given: torch's allow-list names functions and not arguments.

A file may call `bytearray` or `torch.Tensor`, which torch allows, with a number of its choice, and the loader asks the
system for so much memory; or an allowed function with arguments that make it raise. No writer does either. Judged from
the nodes alone: nothing is called, no codec is looked up. What is in no table here is not judged.

Source: CPython and torch documentation of the functions below; `torch/_weights_only_unpickler.py` for which they are.
"""

from __future__ import annotations

__all__ = ["JUDGED", "NEVER_EMPTY", "find_misuse"]

import re
from collections.abc import Callable, Sequence
from functools import partial

from ._exceptions import EXCEPTION_JUDGES, MADE_WITHOUT_ARGUMENTS
from ._nodes import ByteArray, Call, DictNode, Global, Node, SetNode
from ._rebuild_arguments import REBUILD_JUDGES, judge_parameter, may_be_tensor
from ._result_type import result_type
from ._tensors import find_tensor

_MOST_BYTES = 1 << 30
"""A tensor or byte array made of nothing but its size: more than any writer leaves empty."""
_CODECS = frozenset(
    {
        *("latin1", "latin_1", "iso_8859_1", "iso8859_1", "iso8859_15", "ascii", "us_ascii", "koi8_r", "mac_roman"),
        *("utf_8", "utf8", "utf_8_sig", "utf_16", "utf16", "utf_16_le", "utf_16_be", "utf_32", "utf32", "utf_32_le"),
        *("utf_32_be", "utf_7", "raw_unicode_escape", "unicode_escape", "shift_jis", "euc_jp", "euc_kr", "gb18030"),
        *("gbk", "big5", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256"),
        *("cp1257", "cp1258"),
    }
)
"""Encodings of the standard library that take time in proportion to the text; an unknown one is never looked up."""
_LETTERS_FOR_LETTERS = frozenset({"rot13", "rot_13"})
"""Codecs from text to text, which any text has."""
_DEVICES = re.compile(
    r"(cpu|cuda|ipu|xpu|mkldnn|opengl|opencl|ideep|hip|ve|fpga|maia|xla|lazy|vulkan|mps|meta|hpu|mtia|privateuseone)"
    r"(:(0|[1-9][0-9]{0,2}))?"
)
_MOST_DEVICES = 128
_LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged")
)
_NEWOBJ = 0x81
_FILLED_LATER = frozenset(
    {
        "builtins.bytearray",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.distributed._mesh_layout._FlatLayout",
        "torch.distributed._mesh_layout._MeshLayout",
        *MADE_WITHOUT_ARGUMENTS,
    }
)
"""Classes whose `__new__`, which is all that NEWOBJ calls, does not look at its arguments."""
_UNHASHABLE = frozenset({list, DictNode, ByteArray, SetNode})
_NUMBERS = frozenset({int, float, bool})
_CONTAINERS = frozenset({list, tuple, str, bytes, memoryview, DictNode, SetNode, ByteArray})
_RESULTS = frozenset(
    {"OrderedDict", "Counter", "set", "bytes", "builtins.bytearray", "builtins.complex", "Tensor", "Parameter"}
)
"""Types of results that are told from one another; those of torch's own classes besides."""
_ITERABLE_RESULTS = frozenset({"OrderedDict", "Counter", "set", "bytes", "builtins.bytearray", "torch.Size", "object"})
_UNHASHABLE_RESULTS = frozenset({"OrderedDict", "Counter", "set", "builtins.bytearray"})
_DENSE_TYPES = {
    "BFloat16Tensor": "bfloat16",
    "BoolTensor": "bool",
    "ByteTensor": "uint8",
    "CharTensor": "int8",
    "DoubleTensor": "float64",
    "FloatTensor": "float32",
    "HalfTensor": "float16",
    "IntTensor": "int32",
    "LongTensor": "int64",
    "ShortTensor": "int16",
}
"""Classes of torch before 0.4, which it still allows."""

Args = Sequence[Node]


def find_misuse(call: Call) -> str | None:
    """Why no reader can or should do what an allowed call says; None where nothing speaks against it."""
    if type(call.func) is not Global:
        return None
    name = call.func.full_name
    judge = _JUDGES.get(name)
    if judge is None or (call.op == _NEWOBJ and name in _FILLED_LATER):
        return None
    args = call.args
    if type(args) is DictNode:
        args = args[::2]  # a function takes its arguments from whatever can be iterated
    if type(args) not in (tuple, list):
        return None
    reason = judge(args)
    return None if reason is None else f"{name} is called with {reason}"


def _result(node: Node) -> str:
    """The type of a call's result: `object` where nobody knows it, nothing for what is no call."""
    if not isinstance(node, Call):
        return ""
    found = result_type(node)
    return found if found in _RESULTS or found.startswith("torch.") else "object"


def _judge_encode(args: Args) -> str | None:
    if not 1 <= len(args) <= 3 or not all(type(part) is str for part in args):
        return "what is no text"
    return _judge_text(args[0], args[1] if len(args) > 1 else "utf-8", to_text=True)


def _judge_text(text: str, codec: Node, *, to_text: bool = False) -> str | None:
    name = codec.lower().replace("-", "_").replace(" ", "_") if type(codec) is str else ""
    if name in _LETTERS_FOR_LETTERS and to_text:
        return None
    if name not in _CODECS:
        return "an encoding that no pickler writes"
    try:
        text.encode(name)
    except UnicodeError:
        return "text that its encoding does not have"
    return None


def _judge_bytearray(args: Args) -> str | None:
    if not args:
        return None
    first = args[0]
    if len(args) in (2, 3) and all(type(part) is str for part in args):
        return _judge_text(first, args[1])
    if len(args) == 1 and type(first) in (int, bool):
        return _judge_size(first)
    if len(args) == 1 and type(first) in (list, tuple):
        fits = all(type(part) is int and 0 <= part < 256 for part in first)
        return None if fits else "numbers that are no bytes"
    holds = type(first) in (bytes, memoryview, ByteArray) or _result(first) in ("bytes", "builtins.bytearray", "object")
    return None if len(args) == 1 and holds else "what is no bytes"


def _judge_size(size: int) -> str | None:
    if size < 0:
        return "a negative size"
    return f"a size alone: it asks for {size} bytes that are not in the file" if size > _MOST_BYTES else None


def _judge_complex(args: Args) -> str | None:
    if len(args) == 1 and type(args[0]) is str:
        try:
            complex(args[0][:400])
        except ValueError:
            return "text that is no number"
        return None
    fits = all(type(part) in _NUMBERS or _result(part) in ("builtins.complex", "object") for part in args)
    return None if len(args) <= 2 and fits else "what is no number"


def _judge_set(args: Args) -> str | None:
    if not args:
        return None
    first = args[0]
    if len(args) > 1 or not _has_items(first):
        return "what has no items"
    if type(first) in (list, tuple) and not all(map(_is_hashable, first)):
        return "items that cannot be in it"
    return None


def _has_items(node: Node) -> bool:
    """Whether a node is a container, text, or what a writer makes of one."""
    return type(node) in _CONTAINERS or _result(node) in _ITERABLE_RESULTS


def _is_hashable(node: Node, depth: int = 4) -> bool:
    if type(node) is tuple:
        return depth > 0 and all(_is_hashable(part, depth - 1) for part in node)
    return type(node) not in _UNHASHABLE and _result(node) not in _UNHASHABLE_RESULTS


def _judge_counter(args: Args) -> str | None:
    counted = len(args) == 1 and (args[0] is None or type(args[0]) is DictNode)
    return None if counted else _judge_set(args)


def _judge_ordered_dict(args: Args) -> str | None:
    if not args:
        return None
    first = args[0]
    if len(args) > 1 or not _has_items(first):
        return "what has no items"
    if type(first) is DictNode or _result(first) in ("OrderedDict", "Counter", "object"):
        return None
    fits = type(first) in (list, tuple, str, bytes) and all(map(_is_pair, first))
    return None if fits else "items that are no pairs of a key and a value"


def _is_pair(node: Node) -> bool:
    if type(node) is str:
        return len(node) == 2
    return type(node) in (list, tuple) and len(node) == 2 and _is_hashable(node[0])


def _judge_shape(args: Args) -> str | None:
    if not args:
        return None
    first = args[0]
    if len(args) > 1 or (type(first) not in (list, tuple, DictNode) and _result(first) not in ("torch.Size", "object")):
        return "what is no shape"
    sizes = first[::2] if type(first) is DictNode else first if type(first) in (list, tuple) else ()
    fits = all(type(n) is int and -(1 << 63) <= n < 1 << 63 for n in sizes)
    return None if fits else "what is no shape"


def _judge_tensor(args: Args) -> str | None:
    if len(args) == 1 and type(args[0]) in (list, tuple):
        return None if _is_rectangular(args[0]) else "what are no numbers"
    if len(args) == 1 and (may_be_tensor(args[0]) or _result(args[0]) in ("torch.Size", "object")):
        return None
    if not all(type(size) is int for size in args):
        return "what is no size"
    count = 4
    for size in args:
        if size < 0:
            return "a negative size"
        count = min(count * size, 1 << 63)
    return _judge_size(count)


def _judge_typed_tensor(dtype: str, args: Args) -> str | None:
    record = find_tensor(args[0]) if len(args) == 1 else None
    if record is not None and record.dtype not in ("?", dtype):
        return f"a tensor of {record.dtype}"
    return _judge_tensor(args)


def _is_rectangular(node: Node, depth: int = 8) -> bool:
    """Whether nested lists hold numbers only, with rows of one length."""
    kinds = set(map(type, node))
    if kinds <= _NUMBERS:
        return True
    if not kinds <= {list, tuple} or depth == 0 or len(set(map(len, node))) > 1:
        return False
    return all(_is_rectangular(part, depth - 1) for part in node)


def _judge_nothing(args: Args) -> str | None:
    return "what no writer gives it" if args else None


def _judge_gpu_tensor(args: Args) -> str | None:
    return "what only a machine with such a device can make"


def _judge_device(args: Args) -> str | None:
    if len(args) == 1 and type(args[0]) is not str:
        numbered = type(args[0]) is int and 0 <= args[0] < _MOST_DEVICES
        return None if numbered or _result(args[0]) in ("torch.device", "object") else "what names no device"
    if not 1 <= len(args) <= 2 or type(args[0]) is not str:
        return "what names no device"
    if not _DEVICES.fullmatch(args[0]):
        return f"{args[0][:40]!r}, which is no device of torch's own"
    if len(args) == 1 or args[1] is None:
        return None
    numbered = type(args[1]) is int and 0 <= args[1] < _MOST_DEVICES and ":" not in args[0]
    return None if numbered else "what names no device"


def _judge_layout(args: Args) -> str | None:
    known = len(args) == 1 and type(args[0]) is str and args[0] in _LAYOUTS
    return None if known else "what names no layout"


def _judge_parameter(args: Args) -> str | None:
    return judge_parameter(args) if len(args) <= 2 else f"{len(args)} arguments, where it takes 2"


def _judge_mesh_layout(args: Args) -> str | None:
    return "arguments, while its writer makes it by NEWOBJ and BUILD"


_JUDGES: dict[str, Callable[[Args], str | None]] = {
    "_codecs.encode": _judge_encode,
    "builtins.bytearray": _judge_bytearray,
    "builtins.complex": _judge_complex,
    "builtins.set": _judge_set,
    "collections.Counter": _judge_counter,
    "collections.OrderedDict": _judge_ordered_dict,
    "torch.Size": _judge_shape,
    "torch.Tensor": _judge_tensor,
    "torch.device": _judge_device,
    "torch.serialization._get_layout": _judge_layout,
    "torch.nn.parameter.Parameter": _judge_parameter,
    "torch.distributed._mesh_layout._FlatLayout": _judge_mesh_layout,
    "torch.distributed._mesh_layout._MeshLayout": _judge_mesh_layout,
    **{f"torch.{kind}": partial(_judge_typed_tensor, dtype) for kind, dtype in _DENSE_TYPES.items()},
    **{f"torch.sparse.{kind}": _judge_nothing for kind in _DENSE_TYPES},
    **{f"torch.cuda.{kind}": _judge_gpu_tensor for kind in _DENSE_TYPES},
    **{f"torch.cuda.sparse.{kind}": _judge_gpu_tensor for kind in _DENSE_TYPES},
    **REBUILD_JUDGES,
    **EXCEPTION_JUDGES,
}
JUDGED = frozenset(_JUDGES)
"""Names of functions whose arguments are judged."""
NEVER_EMPTY = frozenset(name for name in _JUDGES if _JUDGES[name](()) is not None)
"""Those that must be given something."""
