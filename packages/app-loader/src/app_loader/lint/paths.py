"""Files and folders to judge: every Python file below a path, judged one by one."""

from __future__ import annotations

import fnmatch
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from app_loader.lint.finding import Finding, Rule
from app_loader.lint.source import lint_source
from app_loader.lint.zoos import Zoo

SKIPPED = frozenset({"__pycache__", ".git", ".venv", "venv", "node_modules", "build", "dist", "site-packages"})


def find_sources(paths: Iterable[Path], exclude: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the Python files at or below the paths, sorted, without what a pattern excludes.

    Args:
        paths: files and folders; a file is taken whatever its name.
        exclude: patterns as fnmatch reads them, matched against the whole path.
    """
    patterns = tuple(exclude)
    for path in paths:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            skipped = SKIPPED.intersection(file.relative_to(path).parts) if path.is_dir() else ()
            if not skipped and not any(fnmatch.fnmatch(file.as_posix(), pattern) for pattern in patterns):
                yield file


def lint_paths(paths: Iterable[Path], zoo: Zoo, *, exclude: Iterable[str] = ()) -> tuple[list[Finding], int]:
    """Return the findings of every file, and how many files were read.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    findings: list[Finding] = []
    count = 0
    for file in find_sources(paths, exclude):
        count += 1
        try:
            with tokenize.open(file) as stream:  # honours the encoding that the source declares
                text = stream.read()
        except (SyntaxError, UnicodeDecodeError) as error:
            what = f"cannot be decoded: {error}"
            findings.append(Finding(path=file.as_posix(), line=1, column=1, rule=Rule.UNREADABLE, what=what))
            continue
        findings.extend(lint_source(text, file.as_posix(), zoo))
    return findings, count
