"""Rewriting a module when it is compiled, so that its own names mean its own version. Line numbers stay as they are.

Import statements inside functions are rewritten because the compilers of torch follow them and ignore a patched
`__import__`; those at the top of a module may be left to the unit's `__import__` (see `_net`). Only four kinds of
expression are touched, each because it turns a module's name into text or text into a module:

- an attribute that is redirected (`sys.modules`, `torch.ops`, ...; see `_targets`);
- text that is taken apart or compared as an original module name (`cls.__module__.split(".")`, `name == "zoo.layers"`);
- an original name that is written into `__module__`, which pickle would follow out of the unit;
- a table that is asked for a module's name (`table[module.__name__]`), whose keys may be original names.

Attributes and strings are never changed otherwise.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import cast

from app_loader.isolated._names import SHIMS
from app_loader.isolated._owned import OwnedNames
from app_loader.isolated._targets import ATTRIBUTES, WHOLE, WHOLE_ROOTS, helper_name
from app_loader.isolated._writes import Writes, may_write

OWN = "__mpt_original_name__"
ISOLATE = "__mpt_isolated_name__"
KEY = "__mpt_known_key__"

_TEXT_METHODS = frozenset({"startswith", "removeprefix", "replace", "find", "index", "lstrip"})

# What must stand in a source for the slow walk over its expressions to be worth it: plain texts, found fastest.
_NAME_TEXTS = (
    *(b"__module__", b"__package__", b"__name__ ==", b"__name__==", b"__name__ !=", b"__name__ in", b"== __name__"),
    *(b"__name__.split(", b"__name__.partition(", b"__name__.startswith(", b"__name__.removeprefix("),
    *(b"__name__]", b".__name__)", b".__name__,", b".__name__ in", b".__name__ not in"),
    *(b"name.split(", b"name.partition(", b"name.startswith(", b"module='", b'module="', b"__name__.replace("),
)
_ATTRIBUTE_TEXTS = (
    *(b"sys.modules", b"import sys as", b"torch.library", b"torch.ops", b"torch.load", b"import torch as"),
    *(b"dictConfig", b"DictConfigurator"),
    *(b"functional_datapipe", b"register_pytree_node", b"register_constant", b"register_dataclass", b"gymnasium."),
    *(b"import gymnasium as",),
)


class Rewriter:
    """Rewrites the modules of one unit.

    Args:
        prefix: the unit's isolated package.
        owned: the names that belong to the unit.
    """

    def __init__(self, prefix: str, owned: OwnedNames) -> None:
        self._prefix = prefix
        self._owned = owned
        self._shimmed = frozenset(name for name in WHOLE if not owned.owns(name))
        self._attributes = {name: shim for name, shim in ATTRIBUTES.items() if not owned.owns(name)}

    @cached_property
    def _inner_import(self) -> re.Pattern[bytes]:
        """What an import below the top of a module looks like; made at the first compilation."""
        roots = b"|".join(re.escape(root.encode()) for root in sorted(self._owned.roots | WHOLE_ROOTS))
        start = rb"(?:\n[ \t]+|[:;][ \t]*)"  # not at the top: indented, or after a colon on the same line
        return re.compile(
            start + rb"(?:from[ \t]+(?:" + roots + rb"|torch\.library)\b|import[ \t][^\n]*\b(?:" + roots + rb")\b)"
        )

    def rewrite(self, source: bytes, filename: str) -> ast.Module | None:
        """Return the rewritten module, or None where the source can be compiled as it is.

        It can where every import of an own name stands at the top: those run once, through the unit's `__import__`,
        and no compiler of torch ever sees them. Parsing into Python objects takes several times as long as compiling.

        Raises:
            SyntaxError: as the compiler would.
        """
        names = any(text in source for text in _NAME_TEXTS)
        attributes = any(text in source for text in _ATTRIBUTE_TEXTS)
        inner = names or attributes or self._inner_import.search(source) is not None
        if not inner and not may_write(source):
            return None
        tree = cast(ast.Module, compile(source, filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True))
        bindings = self._rewrite_imports(tree)
        if names or attributes:
            _Expressions(self._attributes, bindings, self._owned, names=names).visit(tree)
        writes = Writes(bindings)
        writes.visit(tree)
        return tree if inner or writes.found else None

    def _rewrite_imports(self, tree: ast.Module) -> dict[str, str]:
        """Rewrite every import statement in place; return which shared module each local name stands for."""
        bindings: dict[str, str] = {}
        pending: list[ast.AST] = [tree]
        while pending:
            node = pending.pop()
            for field in ("body", "orelse", "finalbody"):
                body = getattr(node, field, None)
                if not isinstance(body, list):
                    continue
                changed: list[ast.stmt] = []
                for statement in body:
                    if isinstance(statement, ast.Import):
                        changed.extend(self._import(statement, bindings))
                    elif isinstance(statement, ast.ImportFrom) and not statement.level:
                        changed.extend(self._import_from(statement, bindings))
                    else:
                        changed.append(statement)
                        if hasattr(statement, "body") or hasattr(statement, "cases"):
                            pending.append(statement)
                body[:] = changed
            pending.extend(getattr(node, "handlers", ()))
            pending.extend(getattr(node, "cases", ()))
        return bindings

    def _import(self, node: ast.Import, bindings: dict[str, str]) -> Iterator[ast.stmt]:
        for alias in node.names:
            root, _, rest = alias.name.partition(".")
            base = self._base(alias.name)
            if base is None:
                bindings[alias.asname or root] = alias.name if alias.asname else root
                if alias.asname and alias.name in self._attributes:  # import torch.library as library
                    yield _from(node, f"{self._shims}.{alias.name.rpartition('.')[0]}", [_renamed(alias)])
                    continue
                yield ast.copy_location(ast.Import(names=[alias]), node)
                if root in self._owned.roots and not alias.asname:  # a namespace package of which others own this part
                    yield _from(node, self._prefix, [ast.alias(name=root)])
            elif alias.asname and rest:
                full = ast.copy_location(ast.alias(f"{base}.{alias.name}", alias.asname), alias)
                yield ast.copy_location(ast.Import(names=[full]), node)
            elif alias.asname:
                yield _from(node, base, [ast.alias(root, alias.asname)])
            else:
                if rest:  # imports the submodule by its full name, whatever its parents call by that name
                    yield _from(node, f"{base}.{alias.name}", [ast.alias("__name__", root)])
                yield _from(node, base, [ast.alias(root)])

    def _import_from(self, node: ast.ImportFrom, bindings: dict[str, str]) -> Iterator[ast.stmt]:
        module = node.module or ""
        base = self._base(module)
        if base is not None:
            yield _from(node, f"{base}.{module}", node.names)
            return
        if module in self._attributes:  # from torch.library import custom_op
            yield _from(node, f"{self._shims}.{module}", node.names)
            return
        for alias in node.names:
            bindings.setdefault(alias.asname or alias.name, f"{module}.{alias.name}")
        redirected = [alias for alias in node.names if f"{module}.{alias.name}" in self._attributes]
        if redirected:
            kept = [alias for alias in node.names if alias not in redirected]
            if kept:
                yield _from(node, module, kept)
            for alias in redirected:
                yield _from(node, f"{self._shims}.{self._attributes[f'{module}.{alias.name}']}", [alias])
                bindings.pop(alias.asname or alias.name, None)
        elif module in self._owned.partly or any(module.startswith(f"{part}.") for part in self._owned.partly):
            yield _from(node, module, node.names)
        else:
            yield node

    def _base(self, name: str) -> str | None:
        """Return what stands before an own or shimmed name, None for a shared one."""
        if name.partition(".")[0] in self._owned.roots:
            return self._prefix if self._owned.owns(name) else None
        if name in self._shimmed or any(name.startswith(f"{shim}.") for shim in self._shimmed):
            return self._shims
        return None

    @property
    def _shims(self) -> str:
        return f"{self._prefix}.{SHIMS}"


class _Expressions(ast.NodeTransformer):
    """Rewrites the four kinds of expression."""

    def __init__(self, attributes: dict[str, str], bindings: dict[str, str], owned: OwnedNames, *, names: bool) -> None:
        self._attributes = attributes
        self._bindings = bindings
        self._owned = owned
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.ctx, ast.Load):
            dotted = self._dotted(node)
            if dotted in self._attributes:
                return ast.copy_location(ast.Name(helper_name(dotted), ast.Load()), node)
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not self._names:
            return node
        called = node.func
        if isinstance(called, ast.Attribute) and node.args and not isinstance(called.value, ast.Constant):
            first = node.args[0]
            apart = called.attr in ("split", "partition", "rsplit") and _is_text(first) == "."
            asked = called.attr in _TEXT_METHODS and self._names_own(first)
            both = called.attr in _TEXT_METHODS and (_says_module(called.value) or _says_module(first))
            if (apart and called.attr != "rsplit") or asked or both:
                called.value = _call(OWN, called.value)
            if both:  # cls.__module__.startswith(prefix): either may be an original name
                node.args[0] = _call(OWN, first)
            elif called.attr in ("get", "pop") and _is_text(first) == "__module__":  # a class body's own module
                return _call(OWN, node)
            elif called.attr in ("get", "pop") and _may_name_module(first) and _is_plain(called.value):
                node.args[0] = _known(called.value, first)
            elif called.attr == "setdefault" and _is_text(first) == "__module__" and len(node.args) == 2:
                node.args[1] = _call(ISOLATE, node.args[1])
        if isinstance(called, ast.Name) and called.id == "setattr" and len(node.args) == 3:
            name, value = node.args[1:]
            node.args[2] = _call(ISOLATE, value) if _is_text(name) == "__module__" else value
        for keyword in node.keywords:
            if keyword.arg == "__module__" or (keyword.arg == "module" and self._names_own(keyword.value)):
                keyword.value = _call(ISOLATE, keyword.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if self._names and len(node.ops) == 1:
            right = node.comparators[0]
            if isinstance(node.ops[0], ast.Eq | ast.NotEq) and (_says_module(node.left) or _says_module(right)):
                node.left = _call(OWN, node.left)
                node.comparators[0] = _call(OWN, right)
            elif isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn) and self._names_own(right):
                if not isinstance(node.left, ast.Constant):
                    node.left = _call(OWN, node.left)
            elif isinstance(node.ops[0], ast.Eq | ast.NotEq) and self._names_own(node.left):
                node.comparators[0] = _call(OWN, right)
            elif isinstance(node.ops[0], ast.In | ast.NotIn) and _may_name_module(node.left) and _is_plain(right):
                node.left = _known(right, node.left)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if self._names and isinstance(node.ctx, ast.Load):
            if _is_text(node.slice) == "__module__":
                return _call(OWN, node)
            if _may_name_module(node.slice) and _is_plain(node.value):
                node.slice = _known(node.value, node.slice)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if self._names and any(_is_module_name(target) for target in node.targets):
            node.value = _call(ISOLATE, node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        if self._names:
            for index, key in enumerate(node.keys):
                if key is not None and _is_text(key) == "__module__":
                    node.values[index] = _call(ISOLATE, node.values[index])
        return node

    def _dotted(self, node: ast.expr) -> str:
        """Return the shared name that a chain of attributes stands for, empty for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._bindings:
            return ""
        return ".".join([self._bindings[node.id], *reversed(parts)])

    def _names_own(self, node: ast.expr) -> bool:
        """Whether a literal (or a tuple, list or set of literals) names the unit's own modules."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(self._names_own(element) for element in node.elts)
        text = _is_text(node)
        return text is not None and text.partition(".")[0] in self._owned.roots


def _from(node: ast.stmt, module: str, names: Iterable[ast.alias]) -> ast.ImportFrom:
    made = ast.copy_location(ast.ImportFrom(module=module, names=list(names), level=0), node)
    for alias in made.names:
        if not hasattr(alias, "lineno"):
            ast.copy_location(alias, node)
    return made


def _renamed(alias: ast.alias) -> ast.alias:
    return ast.alias(name=alias.name.rpartition(".")[2], asname=alias.asname)


def _call(name: str, argument: ast.expr) -> ast.Call:
    made = ast.Call(func=ast.Name(name, ast.Load()), args=[argument], keywords=[])
    ast.copy_location(made.func, argument)
    return ast.copy_location(made, argument)


def _known(table: ast.expr, key: ast.expr) -> ast.Call:
    """Return the call that chooses the spelling of a module's name that a table knows."""
    made = _call(KEY, copy.deepcopy(table))
    made.args.append(key)
    return made


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression is a name or a chain of attributes, which may be evaluated twice."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _may_name_module(node: ast.expr) -> bool:
    """Whether an expression reads a module's name, not that of an object's class."""
    if isinstance(node, ast.Name):
        return node.id in ("__name__", "__package__")
    if not isinstance(node, ast.Attribute) or node.attr not in ("__module__", "__name__", "__package__"):
        return False
    of_class = isinstance(node.value, ast.Call) or (
        isinstance(node.value, ast.Attribute) and node.value.attr == "__class__"
    )
    return node.attr != "__name__" or not of_class


def _is_text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _says_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "__module__"


def _is_module_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Attribute):
        return target.attr == "__module__"
    if isinstance(target, ast.Subscript):
        return _is_text(target.slice) == "__module__"
    return isinstance(target, ast.Name) and target.id == "__module__"
