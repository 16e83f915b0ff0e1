"""What a global or a call of a pickle is, and how bad: one judgement per node, from its shape and the tables.

Deny by default: what torch allows is no finding, what a table knows is `incompatible`, what runs or reaches code is
`dangerous`, and everything else is unknown: `incompatible` where it has the inert shape of an object, an Enum or a
reference, `suspicious` where a function of unknown meaning would be called.
"""

from __future__ import annotations

__all__ = [
    "Judgement",
    "find_bytes",
    "find_called_argument",
    "find_callee_name",
    "judge_call",
    "judge_function",
    "judge_reference",
]

import re
from dataclasses import dataclass

from ._names_known import find_kind, is_class_like, is_code_carrier, is_executing, is_stdlib, sounds_executing
from ._nodes import Call, DictNode, Ext, Global, Node, Unresolvable, find_class
from ._result import Severity

_NEWOBJ = (0x81, 0x92)
_ENUM_TEXT = re.compile(r"[\w.\-]{1,40}$")
_CLASS_FIRST = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})
_GETATTR = "builtins.getattr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a node is: a kind for people and tools, the name that matters, how bad, and why where that is not plain."""

    kind: str
    name: str
    severity: Severity
    why: str = ""


def find_callee_name(func: Node) -> str | None:
    """The dotted name that a call's function has: a global, or `getattr` of a global with a plain name."""
    named = find_class(func)
    if named is not None:
        return named.full_name
    if isinstance(func, Call) and type(func.func) is Global and func.func.full_name == _GETATTR:
        target = _getattr_target(func)
        if target is not None:
            return target
    return None


def _find_type_of_carrier(func: Node) -> str | None:
    """Which type a callee is that cloudpickle spells `_builtin_type('MethodType')`; None where it is none of these."""
    if not isinstance(func, Call) or type(func.func) is not Global or not is_code_carrier(func.func.full_name):
        return None
    args = func.args
    named = func.func.name == "_builtin_type" and type(args) is tuple and len(args) == 1 and type(args[0]) is str
    return args[0] if named and args[0] in _CARRIED_TYPES else None


_CARRIED_TYPES = {
    "CodeType": ("code", "the compiled code of a function"),
    "MethodType": ("bound method", "a method with the object it belongs to is put together while loading"),
}
"""Name in the module `types` -> kind of what it makes, and why that needs a decision. Making it runs nothing of it."""


def _getattr_target(call: Call) -> str | None:
    args = call.args
    if type(args) is tuple and len(args) == 2 and type(args[0]) is Global and type(args[1]) is str:
        return f"{args[0].full_name}.{args[1]}"
    return None


def judge_reference(node: Node) -> Judgement:
    """Judge a global that stands in the object as a value: a class or function by reference."""
    if type(node) is Ext:
        return Judgement(
            kind="extension code",
            name=f"copyreg extension {node.code}",
            severity="dangerous",
            why="a copyreg extension code stands for a name that is not in the file",
        )
    if type(node) is Unresolvable:
        return Judgement(
            kind="computed name",
            name="a name made at load time",
            severity="dangerous",
            why="the name to import is itself computed, so no reading of the file says what it is",
        )
    name = node.full_name
    if is_executing(name) or is_executing(node.spelled):
        return Judgement(
            kind="function" if not is_class_like(name) else "class",
            name=name,
            severity="dangerous",
            why=f"{name} runs or reaches code; it is imported, if not called",
        )
    if is_code_carrier(name):
        return Judgement(kind="code", name=name, severity="suspicious", why="part of a function or class kept as code")
    kind = find_kind(name)
    if kind in ("numpy type", "torch value", "ellipsis", "singleton"):
        return Judgement(kind=kind, name=name, severity="incompatible")
    return Judgement(kind="class" if is_class_like(name) or kind else "function", name=name, severity="incompatible")


def judge_call(call: Call) -> Judgement:
    """Judge a call whose callee torch does not allow."""
    name = find_callee_name(call.func)
    carried = _find_type_of_carrier(call.func) if name is None else None
    if carried is not None:
        word, why = _CARRIED_TYPES[carried]
        return Judgement(kind=word, name=f"types.{carried}", severity="suspicious", why=why)
    if name is None:
        return Judgement(
            kind="computed call",
            name="a value made at load time",
            severity="dangerous",
            why="what is called is itself the result of a call",
        )
    spelled = call.func.spelled if type(call.func) is Global else name
    if name == _GETATTR:
        return _judge_getattr(call)
    if is_executing(name) or is_executing(spelled):
        return Judgement(kind="call", name=name, severity="dangerous", why=f"{name} is called when the file is loaded")
    if is_code_carrier(name):
        return Judgement(
            kind="code", name=name, severity="suspicious", why="a function or class kept as compiled code, not by name"
        )
    if name in _CLASS_FIRST:
        return _judge_class_first(call, name)
    kind = find_kind(name)
    if kind is not None:
        given = find_called_argument(call)
        if given is not None and not is_executing(given.full_name):
            return judge_function(given.full_name)
        return Judgement(kind=_refine(call, kind), name=name, severity="incompatible")
    return _judge_unknown(call, name, is_newobj=call.op in _NEWOBJ)


def _judge_class_first(call: Call, name: str) -> Judgement:
    cls = find_class(call.args[0]) if type(call.args) is tuple and call.args else None
    if cls is None:
        return Judgement(
            kind="computed call", name=name, severity="dangerous", why="the class to construct is itself computed"
        )
    if is_executing(cls.full_name) or is_executing(cls.spelled):
        return Judgement(
            kind="call", name=cls.full_name, severity="dangerous", why=f"an object of {cls.full_name} is made"
        )
    kind = find_kind(cls.full_name)
    if kind is not None and kind != "object":
        return Judgement(kind=_refine(call, kind), name=cls.full_name, severity="incompatible")
    return _judge_unknown(call, cls.full_name, is_newobj=True, own_args=call.args[3:])


def _judge_getattr(call: Call) -> Judgement:
    target = _getattr_target(call)
    if target is None:
        attribute = call.args[1] if type(call.args) is tuple and len(call.args) > 1 else None
        plain = type(attribute) is str and not attribute.startswith("_") and attribute.isidentifier()
        inner = call.args[0] if type(call.args) is tuple and call.args else None
        if plain and isinstance(inner, Call):
            return Judgement(
                kind="bound method",
                name=f"{_GETATTR}(..., {attribute!r})",
                severity="suspicious",
                why="an attribute is read from an object while loading",
            )
        return Judgement(
            kind="call", name=_GETATTR, severity="dangerous", why="an attribute is reached by a computed name"
        )
    if is_executing(target) or ".__" in target:
        return Judgement(kind="call", name=target, severity="dangerous", why=f"{target} is reached by getattr")
    kind = find_kind(target)
    if kind is not None:
        return Judgement(kind=kind, name=target, severity="incompatible")
    owner, _, attribute = target.rpartition(".")
    if is_class_like(owner):
        return Judgement(kind="enum" if attribute.isupper() else "function", name=target, severity="incompatible")
    return Judgement(
        kind="function", name=target, severity="suspicious", why="an attribute of a module is reached by getattr"
    )


def _judge_unknown(call: Call, name: str, *, is_newobj: bool, own_args: Node = None) -> Judgement:
    args = call.args if own_args is None else own_args
    count = len(args) if type(args) in (tuple, list) else -1
    shaped = _shape_of_state(call)
    if is_newobj:
        if shaped:
            kind = shaped
        elif call.pairs is not None:
            kind = "dict subclass"
        elif call.items is not None:
            kind = "list subclass"
        elif count == 1 and type(args[0]) in (str, int, float, bytes):
            kind = f"{type(args[0]).__name__} subclass"
        elif count >= 1 and own_args is None and call.states is None:
            kind = "namedtuple"
        else:
            kind = "object"
        return Judgement(kind=kind, name=name, severity="incompatible")
    if is_class_like(name):
        if shaped:
            return Judgement(kind=shaped, name=name, severity="incompatible")
        if call.pairs is not None and count == 0:
            return Judgement(kind="OrderedDict subclass", name=name, severity="incompatible")
        if call.items is not None and count == 0:
            return Judgement(kind="list subclass", name=name, severity="incompatible")
        if count == 1 and _is_enum_value(args[0]) and not is_stdlib(name):
            return Judgement(kind="enum", name=name, severity="incompatible")
        if count == 1 and type(args[0]) is DictNode and not is_stdlib(name):
            return Judgement(kind="dict subclass", name=name, severity="incompatible")
        if count == 1 and is_stdlib(name) and type(args[0]) is int:
            return Judgement(kind="enum", name=name, severity="incompatible")
        return Judgement(
            kind="object",
            name=name,
            severity="suspicious",
            why=f"the constructor of {name} is called with arguments from the file",
        )
    if is_stdlib(name):
        return Judgement(kind="call", name=name, severity="dangerous", why=f"{name} is called when the file is loaded")
    return judge_function(name)


def judge_function(name: str) -> Judgement:
    """Judge an unknown function that is called at load time."""
    if sounds_executing(name):
        return Judgement(kind="call", name=name, severity="dangerous", why=f"{name} is called when the file is loaded")
    return Judgement(
        kind="call",
        name=name,
        severity="suspicious",
        why=f"the unknown function {name} is called at load time",
    )


def find_called_argument(call: Call) -> Global | None:
    """The function among the arguments that the called function calls in its turn, where it is of unknown meaning."""
    at = _CALLS_ITS_ARGUMENT.get(find_callee_name(call.func) or "")
    if at is None or type(call.args) is not tuple or len(call.args) <= max(at, 1):
        return None
    given = call.args[at]
    if type(given) is not Global or is_class_like(given.full_name) or find_kind(given.full_name) is not None:
        return None
    return given


_CALLS_ITS_ARGUMENT = {
    "builtins.iter": 0,
    "pandas.core.indexes.base._new_Index": 0,
    "numpy.random._pickle.__generator_ctor": 1,
    "numpy.random._pickle.__randomstate_ctor": 1,
    "torch._tensor._rebuild_from_type_v2": 0,
}
"""Known functions that call one of their arguments, and which."""


def _is_enum_value(node: Node) -> bool:
    if type(node) is int or type(node) is float:
        return True
    return type(node) is str and _ENUM_TEXT.match(node) is not None


_STATE_SHAPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("nn.Module", ("_modules", "_parameters")),
    ("optimizer", ("param_groups", "defaults")),
    ("scheduler", ("base_lrs", "last_epoch")),
    ("omegaconf", ("_content", "_metadata")),
)


def _shape_of_state(call: Call) -> str | None:
    for state in call.states or ():
        if type(state) is tuple and state and type(state[0]) is DictNode:
            state = state[0]
        if type(state) is DictNode:
            keys = {key for key in state[::2] if type(key) is str}
            for kind, expected in _STATE_SHAPES:
                if keys.issuperset(expected):
                    return kind
    return None


def _refine(call: Call, kind: str) -> str:
    return _shape_of_state(call) or kind if kind == "object" else kind


def find_bytes(node: Node) -> bytes | None:
    """The byte string that a node is: itself, or `_codecs.encode('...', 'latin1')` as protocol 2 writes bytes."""
    if type(node) is bytes:
        return node
    if type(node) is memoryview:
        return bytes(node)
    if isinstance(node, Call) and type(node.func) is Global:
        args = node.args
        encoded = node.func.full_name == "_codecs.encode" and type(args) is tuple and len(args) == 2
        if encoded and type(args[0]) is str and args[1] in ("latin1", "latin-1"):
            try:
                return args[0].encode("latin-1")
            except UnicodeEncodeError:
                return None
        if node.func.full_name in ("builtins.bytes", "__builtin__.bytes") and args == ():
            return b""
    return None
