"""Rewriting a module when it is compiled, so that its own names mean its own version. Line numbers stay as they are.

Import statements inside functions are rewritten because the compilers of torch follow them and ignore a patched
`__import__`; those at the top of a module may be left to the unit's `__import__` (see `_net`). Few kinds of expression
are touched (see `_expressions`), and places that write into shared things (see `_writes`); attributes and strings are
never changed otherwise.

Parsing into Python objects takes several times as long as compiling, so the text is asked first: most modules give no
reason to look closer, and are compiled as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import cast

from app_loader.isolated._expressions import Expressions, may_name_modules, may_redirect
from app_loader.isolated._names import SHIMS
from app_loader.isolated._owned import OwnedNames
from app_loader.isolated._targets import ATTRIBUTES, WHOLE, WHOLE_ROOTS
from app_loader.isolated._walk import find_places
from app_loader.isolated._writes import Writes, may_write

# An import below the top of a module: indented, or after something on the same line. Each begins with one plain
# character, which is looked for much faster than a choice of them.
_INNER_IMPORTS = tuple(
    re.compile(start + rb"[ \t]*((?:from|import)[ \t][^\n;]*)") for start in (rb"\n[ \t]", rb":", rb";")
)
_NAME = re.compile(rb"\w+")


class Rewriter:
    """Rewrites the modules of one unit.

    Args:
        prefix: the unit's isolated package.
        owned: the names that belong to the unit.
    """

    def __init__(self, prefix: str, owned: OwnedNames) -> None:
        self._prefix = prefix
        self._owned = owned
        self._roots = frozenset(root.encode() for root in owned.roots | WHOLE_ROOTS)
        self._shimmed = frozenset(name for name in WHOLE if not owned.owns(name))
        self._attributes = {name: shim for name, shim in ATTRIBUTES.items() if not owned.owns(name)}

    def rewrite(self, source: bytes, filename: str) -> ast.Module | None:
        """Return the rewritten module, or None where the source can be compiled as it is.

        It can where every import of an own name stands at the top: those run once, through the unit's `__import__`,
        and no compiler of torch ever sees them.

        Raises:
            SyntaxError: as the compiler would.
        """
        names, writing = may_name_modules(source), may_write(source)
        expressing = names or may_redirect(source)
        importing = any(self._is_own_import(each) for pattern in _INNER_IMPORTS for each in pattern.findall(source))
        if not (expressing or writing or importing):
            return None
        tree = cast(ast.Module, compile(source, filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True))
        bindings = self._rewrite_imports(tree)
        expressions = Expressions(self._attributes, bindings, self._owned, names=names) if expressing else None
        writes = Writes(bindings) if writing else None
        wanted = [each for each in (expressions, writes) if each is not None]
        if wanted:
            places = find_places(tree, frozenset().union(*(each.kinds for each in wanted)))
            for each in wanted:
                each.rewrite(places)
        return tree

    def _is_own_import(self, statement: bytes) -> bool:
        """Whether the text of an import statement may name what is rewritten."""
        words = _NAME.findall(statement)
        return not self._roots.isdisjoint(words[1:2] if words[0] == b"from" else words) or b"torch.library" in statement

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


def _from(node: ast.stmt, module: str, names: Iterable[ast.alias]) -> ast.ImportFrom:
    made = ast.copy_location(ast.ImportFrom(module=module, names=list(names), level=0), node)
    for alias in made.names:
        if not hasattr(alias, "lineno"):
            ast.copy_location(alias, node)
    return made


def _renamed(alias: ast.alias) -> ast.alias:
    return ast.alias(name=alias.name.rpartition(".")[2], asname=alias.asname)
