"""Where revisions come from: the entry point of the code's own distribution, never a name that an archive gives."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable
from importlib import metadata

from policy_interface.migrations import ENTRY_POINTS, InvalidMigrationError, Revision, RevisionGraph

from app_loader.code import Code, StoredCode, find_installed
from app_loader.errors import MigrationError


def read_history(code: Code) -> RevisionGraph:
    """Return the revisions that a version of model code declares; an empty graph when it declares none.

    Raises:
        MigrationError: they cannot be imported, or contradict each other.
    """
    revisions = read_revisions(code)
    try:
        return RevisionGraph.of(revisions)
    except InvalidMigrationError as error:
        raise MigrationError(f"{code.distribution} {code.version}", error.problems, check_command(code)) from error


def read_known_history(code: Code) -> RevisionGraph:
    """Return the code's own revisions, or those of the installed version where the code is older than its revisions."""
    graph = read_history(code)
    if graph.revisions:
        return graph
    installed = find_installed(code.distribution)
    return graph if installed is None else read_history(installed)


def read_revisions(code: Code) -> tuple[Revision, ...]:
    """Return what a version of model code declares as it stands, whether or not it is one history.

    Raises:
        MigrationError: they cannot be imported, or one of them is not valid by itself.
    """
    subject = f"{code.distribution} {code.version}"
    try:
        return tuple(_revisions(code))
    except InvalidMigrationError as error:
        problems = [f"{error.subject}: {problem}" for problem in error.problems]
        raise MigrationError(subject, problems, check_command(code)) from error
    except Exception as error:  # a file that a person is writing may raise anything
        told = f"its revisions cannot be imported: {type(error).__name__}: {error}{_place(error)}"
        raise MigrationError(subject, [told], f"{check_command(code)}   # once that is mended") from error


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def check_command(code: Code) -> str:
    """Return the command that shows the revisions of this code with everything that is wrong with them."""
    version = f" --code {code.version}" if isinstance(code, StoredCode) else ""
    return f"mpt migrate check --distribution {code.distribution}{version}"


def find_declared(code: Code) -> tuple[str, ...]:
    """Return where a version of model code says that its revisions are, as in ``my_zoo.migrations:REVISIONS``."""
    if isinstance(code, StoredCode):
        return tuple(code.entry.entry_points(ENTRY_POINTS).values())
    try:
        distribution = metadata.distribution(code.distribution)
    except metadata.PackageNotFoundError:
        return ()
    return tuple(point.value for point in distribution.entry_points.select(group=ENTRY_POINTS))


def _revisions(code: Code) -> Iterable[Revision]:
    load = code.entry.import_module if isinstance(code, StoredCode) else importlib.import_module
    for value in find_declared(code):
        module, _, attribute = value.partition(":")
        yield from getattr(load(module), attribute)
