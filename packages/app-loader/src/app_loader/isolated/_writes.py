"""Where a module writes into things of the process, found when it is compiled, and made to report to the ledger.

Three kinds of place, and only where the name it starts from was imported from a shared module:

- assigning an attribute or item: ``torch.nn.Linear.forward = mine``, ``ACTIVATIONS["mine"] = f``. The ledger writes
  itself, so that no other thread asks between its answer and the write;
- `setattr` with three arguments, on anything but `self`;
- a call or decorator that registers, as its name says: ``OmegaConf.register_new_resolver(...)``.

A module without such a place is compiled as it is. What reaches a shared object by another way (a variable, an
argument) is not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from app_loader.isolated._walk import Place, Scope

WRITE = "__mpt_write__"
SETATTR = "__mpt_setattr__"
REGISTER = "__mpt_register__"

_REPORTING = frozenset({"sys", "os", "warnings", "logging"})
"""Attributes of these say how a program reports, not what it computes; importing them is watched as a whole."""
_REGISTERING = re.compile(
    r"(?i)(?:un|de)?regist|^_?(?:add|install|patch|override)[_A-Z]|^addLevelName$|^(?:pickle|constructor|update|setdefault)$"
)

_CHAIN = rb"(?!self\b|cls\b)([^\W\d]\w*)((?:\.\w+|\[[^\]\n]*\])*)[ \t]*(\(|=(?!=)|(?=[\r\n]))"
# Each begins with one plain character, which is looked for much faster than a choice of them.
_PLACES = (
    re.compile(rb"\n[ \t]*@?" + _CHAIN),
    re.compile(rb"\n[ \t]*(?:if|elif|else|try|with|for|while|except|finally)\b[^\n]*:[ \t]*" + _CHAIN),
    re.compile(rb";[ \t]*" + _CHAIN),
    re.compile(rb"=[ \t]*([^\W\d]\w*)((?:\.\w+|\[[^\]\n]*\])+)[ \t]*(=)(?!=)"),
)
_SETATTR = re.compile(rb"setattr\([ \t]*(?!self\b)")
_IMPORTS = re.compile(rb"^[ \t]*(?:from[^\n]*import[ \t]*\([^)]*|(?:from|import)\b[^\n]*)", re.MULTILINE)
_NAME = re.compile(rb"\w+")


def may_write(source: bytes) -> bool:
    """Whether the text gives a reason to look closer: a name that an import could have bound is written to."""
    if _SETATTR.search(source):
        return True
    roots = set()
    for pattern in _PLACES:
        for root, chain, follows in pattern.findall(source):
            if root not in roots and (chain if follows == b"=" else _says_register(chain or root)):
                roots.add(root)
    if not roots:
        return False
    return not roots.isdisjoint(name for line in _IMPORTS.findall(source) for name in _NAME.findall(line))


@cache
def _says_register(chain: bytes) -> bool:
    """Whether the last name of a chain says that it registers."""
    return _registers(chain.rpartition(b".")[2].decode("utf-8", "replace"))


def _registers(name: str) -> bool:
    return _REGISTERING.search(name) is not None


class Writes:
    """Rewrites the three kinds of place.

    Args:
        bindings: the shared name that each imported local name stands for.
    """

    def __init__(self, bindings: Mapping[str, str]) -> None:
        self._bindings = {name: dotted for name, dotted in bindings.items() if dotted not in _REPORTING}
        self._calling = bindings
        self._by_kind: dict[type[ast.AST], Callable[[Any, Place], None]] = {
            ast.FunctionDef: self._definition,
            ast.AsyncFunctionDef: self._definition,
            ast.ClassDef: self._definition,
            ast.Assign: self._assign,
            ast.AnnAssign: self._annotated,
            ast.Call: self._call,
            ast.Expr: self._expression,
        }
        self._made: dict[ast.AST, frozenset[str]] = {}

    @property
    def kinds(self) -> frozenset[type[ast.AST]]:
        """The kinds of node to be shown."""
        return frozenset(self._by_kind)

    def rewrite(self, places: list[Place]) -> None:
        """Rewrite the nodes at some places, the inner ones first."""
        for place in reversed(places):
            rewrite = self._by_kind.get(type(place.node))
            if rewrite is not None:
                rewrite(place.node, place)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, place: Place) -> None:
        for index, decorator in enumerate(node.decorator_list):
            if isinstance(decorator, ast.Call) and self._registers(decorator.func, place.scope):
                decorator.func = _helper(REGISTER, decorator.func)
            elif self._registers(decorator, place.scope):
                node.decorator_list[index] = _helper(REGISTER, decorator)

    def _assign(self, node: ast.Assign, place: Place) -> None:
        own = [target for target in node.targets if not self._is_shared(target, place.scope)]
        for target in node.targets:
            if target not in own:
                node.value = _written(target, node.value)
        if own:
            node.targets = own
        else:
            place.put(ast.copy_location(ast.Expr(node.value), node))

    def _annotated(self, node: ast.AnnAssign, place: Place) -> None:
        if node.value is not None and self._is_shared(node.target, place.scope):
            place.put(ast.copy_location(ast.Expr(_written(node.target, node.value)), node))

    def _call(self, node: ast.Call, _: Place) -> None:
        called = node.func
        plain = not node.keywords and len(node.args) == 3 and not any(isinstance(a, ast.Starred) for a in node.args)
        if isinstance(called, ast.Name) and called.id == "setattr" and plain and not _is_self(node.args[0]):
            node.func = ast.copy_location(ast.Name(SETATTR, ast.Load()), called)

    def _expression(self, node: ast.Expr, place: Place) -> None:
        scope = place.scope
        call = node.value
        if isinstance(call, ast.Call) and self._registers(call.func, scope):
            call.func = _helper(REGISTER, call.func)
        elif (  # registry.register(key)(function)
            isinstance(call, ast.Call) and isinstance(call.func, ast.Call) and self._registers(call.func.func, scope)
        ):
            call.func.func = _helper(REGISTER, call.func.func)

    def _registers(self, called: ast.expr, scope: Scope | None) -> bool:
        last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return _registers(last) and self._starts_from(self._calling, called, scope)

    def _is_shared(self, target: ast.expr, scope: Scope | None) -> bool:
        """Whether a target is an attribute or item of something that was imported from a shared module."""
        if isinstance(target, ast.Attribute):
            if target.attr.startswith("__") and not target.attr.endswith("__"):
                return False  # inside a class another name is meant
        elif not isinstance(target, ast.Subscript) or any(isinstance(n, ast.Slice) for n in ast.walk(target.slice)):
            return False
        return self._starts_from(self._bindings, target, scope)

    def _starts_from(self, names: Mapping[str, str], node: ast.expr, scope: Scope | None) -> bool:
        """Whether a chain of attributes and items starts from one of some names, and no function has its own of it."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in names:
            return False
        while scope is not None:
            if node.id in self._locals(scope.function):
                return False
            scope = scope.outer
        return True

    def _locals(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
        if function not in self._made:
            self._made[function] = _locals(function)
        return self._made[function]


def _written(target: ast.expr, value: ast.expr) -> ast.Call:
    """Return the call that writes a value to an attribute or item, and gives what stands there."""
    assert isinstance(target, ast.Attribute | ast.Subscript)
    attribute = isinstance(target, ast.Attribute)
    key = ast.Constant(target.attr) if isinstance(target, ast.Attribute) else target.slice
    return _helper(WRITE, value, target.value, key, ast.Constant("attribute" if attribute else "item"))


def _helper(name: str, first: ast.expr, *others: ast.expr) -> ast.Call:
    made = ast.Call(func=ast.Name(name, ast.Load()), args=[first, *others], keywords=[])
    for node in (made, made.func, *(inner for other in others for inner in ast.walk(other))):
        ast.copy_location(node, first)
    return made


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """Return the names that a function makes itself, imports aside."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {each.arg for each in every if each is not None}
    shared: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Global):
            shared.update(node.names)
    return frozenset(names - shared)
