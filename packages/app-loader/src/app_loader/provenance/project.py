"""Finding a project in a checkout, the package in the project, and what its build requires. Nothing is run."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from app_loader.credentials import strip_credentials

_PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py")
_SETUP_NAME = re.compile(r"""\bname\s*=\s*['"]([A-Za-z0-9._-]+)['"]""")
_DEFAULT_REQUIRES = ["setuptools"]
"""What a project without a build-system table is built with. Source: PEP 518."""


def find_project(tree: Path, distribution: str | None, package: str | None = None) -> Path | None:
    """Return the folder of a project, None where nothing names it.

    Args:
        tree: the checkout.
        distribution: the project's name; None means the top of the tree.
        package: its top-level package: the project that holds it is taken where none says its name.
    """
    if distribution is None:
        return tree
    wanted = canonicalize_name(distribution)
    folders = list(_projects(tree))
    for folder in folders:
        if any(canonicalize_name(name) == wanted for name in _names(folder)):
            return folder
    if package is not None:
        return next((folder for folder in folders if find_package(folder, package) is not None), None)
    return None


def find_package(project: Path, package: str) -> Path | None:
    """Return the folder of a top-level package in a project, the shallowest where there are several.

    The name comes from an archive; one that is no name of a package names no folder either, such as ``/etc``.
    """
    if not package.isidentifier():
        return None
    for folder in (project / package, project / "src" / package):
        if folder.is_dir():
            return folder
    found = [path.parent for path in project.rglob(f"{package}/__init__.py") if ".git" not in path.parts]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def build_requirements(project: Path) -> list[str]:
    """Return the names of the distributions that a project's build requires."""
    return [each.name for each in read_build_requirements(project)[0]]


def read_build_requirements(project: Path) -> tuple[list[Requirement], list[str]]:
    """Return what a project's build requires, and what of it may not be followed, in words: it decides by itself."""
    system = _read_toml(project / "pyproject.toml").get("build-system", {})
    requires = system.get("requires", _DEFAULT_REQUIRES) if isinstance(system, dict) else []
    found, problems = [], []
    for text in requires if isinstance(requires, list) else []:
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            problems.append(f"it is built with {str(text)!r}, which is no requirement")
            continue
        if requirement.url is not None:
            problems.append(
                f"it is built with {requirement.name} from a URL, which decides by itself whose code it is: "
                f"{strip_credentials(requirement.url)}"
            )
        found.append(requirement)
    return found, problems


def _projects(tree: Path) -> Iterator[Path]:
    """Yield the folders that hold a project, the shallowest first."""
    folders = {path.parent for name in _PROJECT_FILES for path in tree.rglob(name) if ".git" not in path.parts}
    yield from sorted(folders, key=lambda folder: (len(folder.parts), folder))


def _names(folder: Path) -> Iterator[str]:
    """Yield the names that a project's files give it."""
    document = _read_toml(folder / "pyproject.toml")
    tables = (document.get("project", {}), *(document.get("tool", {}).get(tool, {}) for tool in ("poetry", "flit")))
    yield from (str(table["name"]) for table in tables if isinstance(table, dict) and "name" in table)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_read(folder / "setup.cfg"))
    except configparser.Error:
        pass
    else:
        if parser.has_option("metadata", "name"):
            yield parser.get("metadata", "name").strip()
    match = _SETUP_NAME.search(_read(folder / "setup.py"))
    if match:
        yield match[1]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError:
        return {}


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
