"""Rewriting the expressions that turn a module's name into text, or text into a module.

There are five kinds:

- an attribute that is redirected (`sys.modules`, `torch.ops`, ...; see `_targets`);
- text that is taken apart or compared as an original module name (`cls.__module__.split(".")`, `name == "zoo.layers"`);
- text that a `__repr__` or `__str__` returns, which may show a module's name or a class (other text may name a place in
  a table of the process, where two versions must not meet);
- an original name that is written into `__module__`, which pickle would follow out of the unit;
- a table that is asked for a module's name (`table[module.__name__]`), whose keys may be original names.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from app_loader.isolated._owned import OwnedNames
from app_loader.isolated._targets import helper_name
from app_loader.isolated._walk import Place, Scope

OWN = "__mpt_original_name__"
ISOLATE = "__mpt_isolated_name__"
KEY = "__mpt_known_key__"
SHOWN = "__mpt_shown_text__"

_TEXT_METHODS = frozenset({"startswith", "removeprefix", "replace", "find", "index", "lstrip"})

_LISTS = frozenset({"sys.path", "sys.meta_path"})
"""Redirected lists: to assign one is to assign its content."""

# What must stand in a source for the slow walk over its expressions to be worth it: plain texts, found fastest.
_TEXTS = (
    *(b"__module__", b"__package__", b"module='", b'module="'),
    *(b"str(self.__class__)", b"str(type(self))", b"{self.__class__}", b"{type(self)}"),
    *(b"name.split(", b"name.partition(", b"name.startswith(", b"name.removeprefix("),
)
_NAME_TEXTS = (
    *(b"__name__ ==", b"__name__==", b"__name__ !=", b"__name__ in", b"== __name__"),
    *(b"__name__.split(", b"__name__.partition(", b"__name__.startswith(", b"__name__.removeprefix("),
    *(b"__name__]", b".__name__ in", b".__name__ not in", b"__name__.replace("),
)
_ASKED = re.compile(rb"\.(?:get|pop)\([^()]*\.__name__")
_ATTRIBUTE_TEXTS = (
    *(
        b"sys.modules",
        b"sys.path",
        b"sys.meta_path",
        b"import sys as",
        b"torch.library",
        b"torch.ops",
        b"torch.load",
        b"import torch as",
    ),
    *(b"dictConfig", b"DictConfigurator"),
    *(b"functional_datapipe", b"register_pytree_node", b"register_constant", b"register_dataclass", b"gymnasium."),
    *(b"import gymnasium as",),
)


def may_name_modules(source: bytes) -> bool:
    """Whether the text gives a reason to look for names of modules that are used as text."""
    if any(text in source for text in _TEXTS):
        return True
    return b"__name__" in source and (any(text in source for text in _NAME_TEXTS) or _ASKED.search(source) is not None)


def may_redirect(source: bytes) -> bool:
    """Whether the text gives a reason to look for redirected attributes."""
    return any(text in source for text in _ATTRIBUTE_TEXTS)


class Expressions:
    """Rewrites the five kinds of expression.

    Args:
        attributes: the redirected attributes, each with its shim.
        bindings: the shared name that each imported local name stands for.
        owned: the names that belong to the unit.
        names: whether to look for more than redirected attributes.
    """

    def __init__(
        self, attributes: Mapping[str, str], bindings: Mapping[str, str], owned: OwnedNames, *, names: bool
    ) -> None:
        self._attributes = attributes
        self._bindings = bindings
        self._owned = owned
        self._by_kind: dict[type[ast.AST], Callable[[Any], ast.AST]] = {ast.Attribute: self._attribute}
        if names:
            self._by_kind |= {
                ast.Call: self._call,
                ast.Compare: self._compare,
                ast.Subscript: self._subscript,
                ast.Assign: self._assign,
                ast.AnnAssign: self._annotated,
                ast.Dict: self._dict,
                ast.Return: _return,
            }

    @property
    def kinds(self) -> frozenset[type[ast.AST]]:
        """The kinds of node to be shown."""
        return frozenset(self._by_kind)

    def rewrite(self, places: list[Place]) -> None:
        """Rewrite the nodes at some places, the inner ones first."""
        for place in reversed(places):
            rewrite = self._by_kind.get(type(place.node))
            if rewrite is not None and (type(place.node) is not ast.Return or _shows(place.scope)):
                place.put(rewrite(place.node))

    def _attribute(self, node: ast.Attribute) -> ast.AST:
        if (dotted := self._dotted(node)) not in self._attributes:
            return node
        helper = ast.copy_location(ast.Name(helper_name(dotted), ast.Load()), node)
        if isinstance(node.ctx, ast.Load):
            return helper
        if isinstance(node.ctx, ast.Store) and dotted in _LISTS:  # sys.path = [...] and sys.path += [...]
            return ast.copy_location(ast.Subscript(helper, ast.copy_location(ast.Slice(), node), node.ctx), node)
        return node

    def _call(self, node: ast.Call) -> ast.AST:
        called = node.func
        if isinstance(called, ast.Attribute) and node.args and not isinstance(called.value, ast.Constant):
            first = node.args[0]
            apart = called.attr in ("split", "partition", "rsplit") and _is_text(first) == "."
            asked = called.attr in _TEXT_METHODS and self._names_own(first)
            both = called.attr in _TEXT_METHODS and (_says_module(called.value) or _says_module(first))
            # name.startswith(ignored), where a list of original names is gone through: `OWN` leaves other text alone
            both = both or (called.attr == "startswith" and _is_a_name(called.value) and _is_text(first) is None)
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

    def _compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) == 1:
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

    def _subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.ctx, ast.Load):
            if _is_text(node.slice) == "__module__":
                return _call(OWN, node)
            if _may_name_module(node.slice) and _is_plain(node.value):
                node.slice = _known(node.value, node.slice)
        return node

    def _assign(self, node: ast.Assign) -> ast.AST:
        if any(_is_module_name(target) for target in node.targets):
            node.value = _call(ISOLATE, node.value)
        for target in node.targets:  # Made.__name__, Made.__module__ = "Made", "zoo"
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for index, each in enumerate(target.elts[: len(node.value.elts)]):
                    if _is_module_name(each):
                        node.value.elts[index] = _call(ISOLATE, node.value.elts[index])
        return node

    def _annotated(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None and _is_module_name(node.target):
            node.value = _call(ISOLATE, node.value)
        return node

    def _dict(self, node: ast.Dict) -> ast.AST:
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


def _shows(scope: Scope | None) -> bool:
    """Whether a function, or one around it, makes text for people to read, as its name says."""
    while scope is not None:
        if "repr" in scope.function.name or scope.function.name == "__str__":
            return True
        scope = scope.outer
    return False


def _return(node: ast.Return) -> ast.AST:
    if node.value is not None:
        node.value = _call(SHOWN, node.value)
    return node


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


def _is_a_name(node: ast.expr) -> bool:
    """Whether an expression is called a name, as in `module_name` and `frame.name`."""
    called = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return called.endswith("name") and isinstance(node, ast.Name | ast.Attribute)


def _is_module_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Attribute):
        return target.attr == "__module__"
    if isinstance(target, ast.Subscript):
        return _is_text(target.slice) == "__module__"
    return isinstance(target, ast.Name) and target.id == "__module__"
