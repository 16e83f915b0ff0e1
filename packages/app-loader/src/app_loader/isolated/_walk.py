"""One quick walk over a syntax tree for all who rewrite it: the nodes of a few kinds, and where each of them hangs.

`ast.NodeVisitor` looks for a method at every node; here most nodes are only passed through, at a quarter of the cost.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES = frozenset({ast.Load, ast.Store, ast.Del, ast.Name, ast.Constant, ast.alias})


class Scope(NamedTuple):
    """A function that a node stands in.

    Attributes:
        function: its definition.
        outer: the function that it stands in itself, if any.
    """

    function: ast.FunctionDef | ast.AsyncFunctionDef
    outer: Scope | None


class Place(NamedTuple):
    """Where a node hangs.

    Attributes:
        node: the node.
        owner: the node that holds it.
        field: the owner's field.
        position: where in the field's list, None for a field that holds one node.
        scope: the function it stands in, None for none.
    """

    node: ast.AST
    owner: ast.AST
    field: str
    position: int | None
    scope: Scope | None

    def put(self, node: ast.AST) -> None:
        """Let another node stand here."""
        if node is self.node:
            return
        if self.position is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.position] = node


def find_places(tree: ast.AST, kinds: frozenset[type[ast.AST]]) -> list[Place]:
    """Return the places of all nodes of some kinds, each after those that it stands in."""
    found: list[Place] = []
    pending: list[tuple[ast.AST, Scope | None]] = [(tree, None)]
    while pending:
        node, scope = pending.pop()
        if isinstance(node, _FUNCTIONS):
            scope = Scope(node, scope)
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                for index, each in enumerate(value):
                    kind = type(each)
                    if kind not in _LEAVES and isinstance(each, ast.AST):
                        pending.append((each, scope))
                        if kind in kinds:
                            found.append(Place(each, node, field, index, scope))
            elif isinstance(value, ast.AST):
                kind = type(value)
                if kind not in _LEAVES:
                    pending.append((value, scope))
                    if kind in kinds:
                        found.append(Place(value, node, field, None, scope))
    return found
