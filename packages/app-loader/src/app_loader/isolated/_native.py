"""Which compiled files a unit cannot do without, told from its source before any of it runs.

Compiled modules are never loaded from a unit: they look absent, and code for which they are optional goes on without
them. It cannot where a chain of imports at the top of modules, none of them in a `try` or under a condition, leads to
one of them; nor where code loads libraries itself, which nobody could stop once it runs.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

_LOADS = re.compile(
    rb"\b(?:(?:C|Py|Win|Ole)DLL|cdll|windll|oledll|LoadLibrary|load_library|load_op_library|load_inline|dlopen"
    rb"|cpp_extension|ExtensionFileLoader|load_dynamic)\b"
)
"""Names of what loads libraries: naming one is enough, since it may be called by any other name."""
_ELSEWHERE = (".so", ".dylib") if sys.platform == "win32" else (".pyd", ".dll")
"""How files end that this system cannot load."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_GUARDS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def needed_native(folder: Path, native: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the compiled files without which a module cannot be imported; nothing is imported.

    Args:
        folder: where the unit's modules lie.
        native: its compiled files, posix paths below the folder.
        name: the module, by its original name.
    """
    here = [file for file in native if not file.endswith(_ELSEWHERE)]
    if not here:
        return ()
    if any(_LOADS.search(path.read_bytes()) for path in folder.rglob("*.py")):
        return tuple(here)
    compiled = {_module_of(file): file for file in here}
    found: dict[str, str] = {}
    seen: set[str] = set()
    pending = [*_with_parents(name)]
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        seen.add(module)
        source = _source_of(folder, module)
        if source is not None:
            pending += _imported(source, module, folder, compiled)
        elif module in compiled:
            found[module] = compiled[module]
    return tuple(found.values())


def source_beside(compiled: str) -> Path | None:
    """Return the source of the same module that lies beside a compiled file, None where none does."""
    path = Path(compiled)
    source = path.with_name(f"{path.name.partition('.')[0]}.py")
    return source if source.is_file() else None


def _imported(source: Path, module: str, folder: Path, compiled: dict[str, str]) -> Iterator[str]:
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # importing it says what is wrong
    package = module if source.name == "__init__.py" else module.rpartition(".")[0]
    for statement in _certain(tree.body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield from _with_parents(alias.name)
        elif isinstance(statement, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
            base = ".".join([*above, *([statement.module] if statement.module else [])])
            yield from _with_parents(base)
            for alias in statement.names:
                inner = f"{base}.{alias.name}"
                given = base != module and inner in compiled and _binds(_source_of(folder, base), alias.name)
                if not given:
                    yield inner


def _certain(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run whenever a module is imported, and whose errors nothing catches."""
    for statement in body:
        if _lets_errors_through(statement):
            yield from _certain(statement.body)
        else:
            yield statement


def _lets_errors_through(statement: ast.stmt) -> TypeGuard[ast.With | ast.Try]:
    if isinstance(statement, ast.With):
        return not any(map(_suppresses, statement.items))
    return isinstance(statement, ast.Try) and not any(map(_catches, statement.handlers))


def _suppresses(item: ast.withitem) -> bool:
    """Whether a context manager may end errors, as `contextlib.suppress` does: its name says so."""
    named = (getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(item.context_expr))
    return any("suppress" in name.lower() for name in named)


def _catches(handler: ast.ExceptHandler) -> bool:
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else _GUARDS
    return not _GUARDS.isdisjoint(names)


def _binds(source: Path | None, name: str) -> bool:
    """Whether a package's own text gives itself a name: then it is not the submodule that is asked for."""
    if source is None:
        return False
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, _DEFINITIONS) and node.name in (name, "__getattr__"):
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) == name:
            return True
    return False


def _source_of(folder: Path, module: str) -> Path | None:
    place = folder.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None


def _module_of(file: str) -> str:
    parent, _, name = file.rpartition("/")
    stem = name.partition(".")[0]
    return ".".join(filter(None, (*parent.split("/"), "" if stem == "__init__" else stem)))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
