"""What lies beside a package in its project and is imported by it: without that, the package cannot be built again.

Imports are read from the syntax tree, absolute and relative ones, and followed from one module to the next. Nothing is
imported. A folder without ``__init__.py`` is no package here: folders of data are often named after libraries.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def imported_beside(package: Path, project: Path) -> list[Path]:
    """Return the packages and single modules of a project that a package of it imports, directly or by each other.

    Args:
        package: the package's folder.
        project: the folder of its project, which holds the package or is it.
    """
    roots = [folder for folder in package.parents if folder.is_relative_to(project)]
    found: list[Path] = []
    pending = [package]
    while pending:
        for source in _sources(pending.pop()):
            for path in _imported(source, package, roots):
                if not any(path.is_relative_to(each) for each in (package, *found)):
                    found.append(path)
                    pending.append(path)
    return found


def _sources(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (each for each in path.rglob("*.py") if each.is_file())


def _imported(source: Path, package: Path, roots: list[Path]) -> Iterator[Path]:
    for base, names in _imports(source.read_text("utf-8", errors="replace")):
        module = base.lstrip(".")
        dots = len(base) - len(module)
        above = source.parents[dots - 1 : dots] if dots else roots
        for root in above:
            for parts in ([*module.split("."), name] if module else [name] for name in (*names, "")):
                path = _found(root, parts, package)
                if path is not None and any(path.is_relative_to(each) for each in roots):
                    yield path


def _imports(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the module of each import, with its leading dots, and the names that are taken from it."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # it cannot be imported by anything
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def _found(root: Path, parts: list[str], package: Path) -> Path | None:
    """Return the outermost package or module that a dotted name leads to and that does not hold the package itself."""
    for part in filter(None, parts):
        folder = root / part
        if folder in package.parents:
            root = folder
        elif (folder / "__init__.py").is_file():
            return folder
        else:
            module = root / f"{part}.py"
            return module if module.is_file() else None
    return None
