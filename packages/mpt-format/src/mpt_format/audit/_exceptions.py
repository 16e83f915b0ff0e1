"""Exceptions and stack summaries, which torch 2.14 allows: what they are given when they are made, and as their state.

Judged from the nodes alone, as everything that a version allows: an exception of Python's is made of anything but for
the few below, and its state is a dict. A frame of a stack summary is made without arguments; called with some it would
read the file that it names.

Source: CPython's `Objects/exceptions.c` and `Lib/traceback.py`; `torch/_weights_only_unpickler.py` of 2.14.
"""

from __future__ import annotations

__all__ = ["EXCEPTIONS", "EXCEPTION_JUDGES", "MADE_WITHOUT_ARGUMENTS", "judge_state"]

import builtins
from collections.abc import Callable, Sequence
from functools import partial

from ._judge import find_bytes
from ._nodes import ByteArray, Call, DictNode, Global, Node
from ._result_type import result_type

Args = Sequence[Node]

_CLASSES = {
    f"builtins.{name}": kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name
}
EXCEPTIONS = frozenset(_CLASSES)
"""Full names of Python's own exceptions."""
_FRAME = "traceback.FrameSummary"
_STACK = "traceback.StackSummary"


def _judge_unicode(kinds: tuple[tuple[type, ...], ...], args: Args) -> str | None:
    plain = [b"" if find_bytes(arg) is not None else arg for arg in args]
    fits = len(args) == len(kinds) and all(type(arg) in kind for arg, kind in zip(plain, kinds, strict=True))
    return None if fits else "arguments that it does not take"


def _judge_group(whole: bool, args: Args) -> str | None:
    if len(args) != 2 or type(args[0]) is not str or type(args[1]) not in (list, tuple) or not args[1]:
        return "arguments that it does not take"
    for part in args[1]:
        kind = _CLASSES.get(part.func.full_name) if isinstance(part, Call) and type(part.func) is Global else None
        if kind is None or (whole and not issubclass(kind, Exception)):
            return "what is no exception"
    return None


def _judge_syntax(args: Args) -> str | None:
    fits = len(args) != 2 or (type(args[1]) in (list, tuple) and len(args[1]) in (4, 6))
    return None if fits else "arguments that it does not take"


def _judge_blocking(args: Args) -> str | None:
    fits = not 3 <= len(args) <= 5 or args[2] is None or type(args[2]) in (int, bool, str, bytes, memoryview)
    return None if fits else "arguments that it does not take"


def _judge_plain(args: Args) -> str | None:
    return "arguments, while its writer makes it by NEWOBJ"


_TEXT, _NUMBER, _BYTES = (str,), (int, bool), (bytes, ByteArray)
EXCEPTION_JUDGES: dict[str, Callable[[Args], str | None]] = {
    "builtins.UnicodeDecodeError": partial(_judge_unicode, (_TEXT, _BYTES, _NUMBER, _NUMBER, _TEXT)),
    "builtins.UnicodeEncodeError": partial(_judge_unicode, (_TEXT, _TEXT, _NUMBER, _NUMBER, _TEXT)),
    "builtins.UnicodeTranslateError": partial(_judge_unicode, (_TEXT, _NUMBER, _NUMBER, _TEXT)),
    "builtins.ExceptionGroup": partial(_judge_group, True),
    "builtins.BaseExceptionGroup": partial(_judge_group, False),
    **dict.fromkeys(("builtins.SyntaxError", "builtins.IndentationError", "builtins.TabError"), _judge_syntax),
    "builtins.BlockingIOError": _judge_blocking,
    _FRAME: _judge_plain,
    _STACK: _judge_plain,
}
"""Full name -> why it would not take its arguments, or None; the others take any."""
MADE_WITHOUT_ARGUMENTS = frozenset({name for name in EXCEPTION_JUDGES if "Group" not in name and "IO" not in name})
"""Those whose `__new__`, which is all that NEWOBJ calls, does not look at its arguments."""


def judge_state(name: str, state: Node) -> str | None:
    """Why an allowed class does not take a state; None where it does, or where nothing here speaks against it."""
    is_dict = type(state) is DictNode or result_type(state) in ("OrderedDict", "Counter")
    if name in EXCEPTIONS:
        return None if is_dict else f"TypeError: the state of a {name} is no dict"
    if name == _FRAME:
        slots = type(state) is tuple and len(state) == 2 and state[0] is None and type(state[1]) is DictNode
        return None if slots else f"AttributeError: a {name} takes no state but its slots"
    return f"AttributeError: a {name} takes no state"
