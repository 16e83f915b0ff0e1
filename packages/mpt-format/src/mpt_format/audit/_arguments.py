"""What allowed functions are given: torch's allow-list names functions and not arguments.

A file may call `bytearray` or `torch.Tensor`, which torch allows, with a number of its choice, and the loader asks the
system for so much memory; or an allowed function with arguments that make it raise. No writer does either. Judged from
the nodes alone: nothing is called, no codec is looked up. What is in no table here is not judged.

Source: CPython and torch documentation of the functions below; `torch/_weights_only_unpickler.py` for which they are.
"""

from __future__ import annotations

__all__ = ["JUDGED", "NEVER_EMPTY", "find_misuse"]

import re
from collections.abc import Callable

from ._nodes import ByteArray, Call, DictNode, Global, Node, Persistent, SetNode, TensorCall

_MOST_BYTES = 1 << 30
"""A tensor or byte array made of nothing but its size: more than any writer leaves empty."""
_CODECS = frozenset({"latin1", "latin-1", "iso-8859-1", "utf-8", "utf8", "ascii"})
_DEVICES = re.compile(
    r"(cpu|cuda|ipu|xpu|mkldnn|opengl|opencl|ideep|hip|ve|fpga|maia|xla|lazy|vulkan|mps|meta|hpu|mtia|privateuseone)"
    r"(:(0|[1-9][0-9]{0,2}))?"
)
_LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged")
)
_NEWOBJ = 0x81
_FILLED_LATER = frozenset({"builtins.bytearray", "builtins.set", "collections.Counter", "collections.OrderedDict"})
"""Classes whose `__new__`, which is all that NEWOBJ calls, does not look at its arguments."""
_UNHASHABLE = frozenset({list, DictNode, ByteArray})
_NUMBERS = frozenset({int, float, bool})
_NESTED = frozenset({list, tuple, Call, TensorCall})

Args = tuple[Node, ...]


def find_misuse(call: Call) -> str | None:
    """Why no reader can or should do what an allowed call says; None where nothing speaks against it."""
    if type(call.func) is not Global or type(call.args) is not tuple:
        return None
    name = call.func.full_name
    judge = _JUDGES.get(name)
    if judge is None or (call.op == _NEWOBJ and name in _FILLED_LATER):
        return None
    reason = judge(call.args)
    return None if reason is None else f"{name} is called with {reason}"


def _judge_encode(args: Args) -> str | None:
    if len(args) not in (1, 2) or type(args[0]) is not str:
        return "what is no text"
    return _judge_text(args[0], args[1] if len(args) == 2 else "utf-8")


def _judge_text(text: str, codec: Node) -> str | None:
    if type(codec) is not str or codec.lower() not in _CODECS:
        return "an encoding that no pickler writes"
    try:
        text.encode(codec)
    except UnicodeError:
        return "text that its encoding does not have"
    return None


def _judge_bytearray(args: Args) -> str | None:
    first = args[0] if args else b""
    if len(args) == 2 and type(first) is str:
        return _judge_text(first, args[1])
    if len(args) > 1 or type(first) in (str, float, Global, Persistent) or first is None:
        return "what is no bytes"
    if type(first) is int:
        return _judge_size(first)
    if type(first) in (list, tuple) and not all(type(part) is int and 0 <= part < 256 for part in first):
        return "numbers that are no bytes"
    return None


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
    return None if len(args) <= 2 and _NUMBERS.issuperset(map(type, args)) else "what is no number"


def _judge_set(args: Args) -> str | None:
    if len(args) > 1 or (
        args and (type(args[0]) in _NUMBERS or args[0] is None or type(args[0]) in (Global, Persistent))
    ):
        return "what has no items"
    if args and type(args[0]) in (list, tuple) and not _UNHASHABLE.isdisjoint(map(type, args[0])):
        return "items that cannot be in it"
    return None


def _judge_counter(args: Args) -> str | None:
    return None if args == (None,) else _judge_set(args)


def _judge_ordered_dict(args: Args) -> str | None:
    if not args:
        return None
    first = args[0]
    if len(args) > 1 or type(first) in _NUMBERS or first is None or type(first) in (Global, Persistent):
        return "what has no items"
    if type(first) in (list, tuple):
        for pair in first:
            if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) in _UNHASHABLE:
                return "items that are no pairs of a key and a value"
    return "items that are no pairs of a key and a value" if type(first) is str and first else None


def _judge_shape(args: Args) -> str | None:
    if not args or (len(args) == 1 and isinstance(args[0], Call)):
        return None
    if len(args) > 1 or type(args[0]) not in (list, tuple, SetNode, DictNode):
        return "what is no shape"
    if type(args[0]) in (SetNode, DictNode):
        return None
    fits = all(type(n) in (int, bool) and -(1 << 63) <= n < 1 << 63 for n in args[0])
    return None if fits else "what is no shape"


def _judge_tensor(args: Args) -> str | None:
    if len(args) == 1 and type(args[0]) in (list, tuple):
        fits = all(type(part) in _NUMBERS or type(part) in _NESTED for part in args[0])
        return None if fits else "what is no number"
    if not args or (len(args) == 1 and isinstance(args[0], Call | Persistent)):
        return None
    if not all(type(size) is int for size in args):
        return "what is no size"
    count = 4
    for size in args:
        if size < 0:
            return "a negative size"
        count = min(count * size, 1 << 63)
    return _judge_size(count)


def _judge_device(args: Args) -> str | None:
    if len(args) == 1 and type(args[0]) is int:
        return None
    if len(args) == 1 and type(args[0]) is str:
        return None if _DEVICES.fullmatch(args[0]) else f"{args[0][:40]!r}, which is no device of torch's own"
    named = len(args) == 2 and type(args[0]) is str and type(args[1]) is int and _DEVICES.fullmatch(args[0])
    return None if named else "what names no device"


def _judge_layout(args: Args) -> str | None:
    known = len(args) == 1 and type(args[0]) is str and args[0] in _LAYOUTS
    return None if known else "what names no layout"


def _judge_parameter(args: Args) -> str | None:
    usual = len(args) <= 2 and (not args or args[0] is None or isinstance(args[0], Call))
    return None if usual else "what is no tensor"


def _expect(fewest: int, most: int, *first: type) -> Callable[[Args], str | None]:
    """A judge of a function that takes so many arguments, the first of one of these kinds of nodes."""

    def judge(args: Args) -> str | None:
        if not fewest <= len(args) <= most:
            return f"{len(args)} arguments, where it takes {fewest}"
        return None if not first or isinstance(args[0], first) else "what is no storage or tensor"

    return judge


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
    "torch._utils._rebuild_tensor": _expect(4, 4, Persistent, Call),
    "torch._utils._rebuild_tensor_v2": _expect(6, 7, Persistent, Call),
    "torch._utils._rebuild_tensor_v3": _expect(7, 8, Persistent, Call),
    "torch._utils._rebuild_qtensor": _expect(7, 7, Persistent, Call),
    "torch._utils._rebuild_sparse_tensor": _expect(2, 3),
    "torch._utils._rebuild_parameter": _expect(3, 3, Call),
    "torch._utils._rebuild_parameter_with_state": _expect(4, 4, Call),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _expect(4, 4, Call),
    "torch._utils._rebuild_device_tensor_from_numpy": _expect(4, 4, Call),
    "torch._utils._rebuild_meta_tensor_no_storage": _expect(4, 4),
    "torch._utils._rebuild_wrapper_subclass": _expect(8, 8),
    "torch._tensor._rebuild_from_type_v2": _expect(4, 4),
}
JUDGED = frozenset(_JUDGES)
"""Names of functions whose arguments are judged."""
NEVER_EMPTY = frozenset(name for name in _JUDGES if _JUDGES[name](()) is not None)
"""Those that must be given something."""
