"""Where a module writes into things of the process, found when it is compiled, and made to report to the ledger.

Three kinds of place, and only where the name it starts from was imported from a shared module:

- assigning or deleting an attribute or item: ``torch.nn.Linear.forward = mine``, ``ACTIVATIONS["mine"] = f``;
- `setattr` with three arguments, on anything but `self`;
- a call or decorator that registers, as its name says: ``OmegaConf.register_new_resolver(...)``.

A module without such a place is compiled as it is. What reaches a shared object by another way (a variable, an
argument) is not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

WRITE = "__mpt_write__"
SETATTR = "__mpt_setattr__"
REGISTER = "__mpt_register__"

_REPORTING = frozenset({"sys", "os", "warnings", "logging"})
"""Attributes of these say how a program reports, not what it computes; importing them is watched as a whole."""
_REGISTERING = re.compile(
    r"(?i)(?:un|de)?regist|^_?(?:add|install|patch|override)[_A-Z]|^addLevelName$|^(?:pickle|constructor|update|setdefault)$"
)

_ASSIGNED = re.compile(
    rb"^[ \t]*(?!self\b|cls\b)(?:del[ \t]+)?([^\W\d]\w*)(?:\.\w+|\[[^\]\n]*\])+[ \t]*(?:=(?!=)|$)", re.MULTILINE
)
_CALLED = re.compile(
    rb"^[ \t]*@?(?!self\b|cls\b)(?=[\w.]*(?i:regist|add|install|patch|override|pickle|constructor|update|setdefault))"
    rb"([^\W\d]\w*)(?:\.\w+)*[ \t]*(?:\(|$)",
    re.MULTILINE,
)
_SETATTR = re.compile(rb"\bsetattr\([ \t]*(?!self\b)")
_IMPORTS = re.compile(rb"^[ \t]*(?:from[^\n]*import[ \t]*\([^)]*|(?:from|import)\b[^\n]*)", re.MULTILINE)
_NAME = re.compile(rb"\w+")


def may_write(source: bytes) -> bool:
    """Whether the text gives a reason to look closer: a name that an import could have bound is written to."""
    if _SETATTR.search(source):
        return True
    roots = {match[1] for pattern in (_ASSIGNED, _CALLED) for match in pattern.finditer(source)}
    if not roots:
        return False
    return not roots.isdisjoint(name for line in _IMPORTS.findall(source) for name in _NAME.findall(line))


class Writes(ast.NodeTransformer):
    """Rewrites the three kinds of place.

    Args:
        bindings: the shared name that each imported local name stands for.

    Attributes:
        found: whether anything was rewritten.
    """

    def __init__(self, bindings: Mapping[str, str]) -> None:
        self._bindings = {name: dotted for name, dotted in bindings.items() if dotted not in _REPORTING}
        self._calling = bindings
        self._local: list[frozenset[str]] = []
        self.found = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.decorator_list = [self._decorator(each) for each in node.decorator_list]
        self._local.append(_locals(node))
        node.body = [self.visit(each) for each in node.body]
        self._local.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = [self._decorator(each) for each in node.decorator_list]
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        for target in node.targets:
            node.value = self._reported(target, node.value)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None:
            node.value = self._reported(node.target, node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        plain = not node.keywords and len(node.args) == 3 and not any(isinstance(a, ast.Starred) for a in node.args)
        if isinstance(called, ast.Name) and called.id == "setattr" and plain and not _is_self(node.args[0]):
            node.func = ast.copy_location(ast.Name(SETATTR, ast.Load()), called)
            self.found = True
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        call = node.value
        if isinstance(call, ast.Call) and self._registers(call.func):
            call.func = self._helper(REGISTER, call.func)
        elif (  # registry.register(key)(function)
            isinstance(call, ast.Call) and isinstance(call.func, ast.Call) and self._registers(call.func.func)
        ):
            call.func.func = self._helper(REGISTER, call.func.func)
        return node

    def _decorator(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Call) and self._registers(node.func):
            node.func = self._helper(REGISTER, node.func)
            return node
        return self._helper(REGISTER, node) if self._registers(node) else node

    def _registers(self, called: ast.expr) -> bool:
        last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return _REGISTERING.search(last) is not None and self._root(called) in self._calling

    def _reported(self, target: ast.expr, value: ast.expr) -> ast.expr:
        """Return the value, passed through the ledger where the target belongs to a shared module."""
        if not isinstance(target, ast.Attribute | ast.Subscript) or self._root(target) not in self._bindings:
            return value
        owner = ast.parse(ast.unparse(target.value), mode="eval").body
        key: ast.expr
        if isinstance(target, ast.Attribute):
            kind, key = "attribute", ast.Constant(target.attr)
        elif isinstance(target.slice, ast.Constant | ast.Name | ast.Attribute):  # evaluated twice: only what may be
            kind, key = "item", ast.parse(ast.unparse(target.slice), mode="eval").body
        else:
            return value
        return self._helper(WRITE, value, owner, key, ast.Constant(kind))

    def _helper(self, name: str, first: ast.expr, *others: ast.expr) -> ast.Call:
        self.found = True
        made = ast.Call(func=ast.Name(name, ast.Load()), args=[first, *others], keywords=[])
        for node in (made, made.func, *(inner for other in others for inner in ast.walk(other))):
            ast.copy_location(node, first)
        return made

    def _root(self, node: ast.expr) -> str:
        """Return the name that a chain of attributes and items starts from, empty where a function has its own."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name) or any(node.id in names for names in self._local):
            return ""
        return node.id


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
