"""What import-linter cannot see: names in strings, `sys.modules`, and what an import drags in at run time."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

IMPORTERS = {"import_module", "__import__", "find_spec", "run_module", "reload", "resolve_name", "locate"}
IMPORT_STATE = {"modules", "meta_path", "path_hooks", "path_importer_cache"}
ISOLATION = "app_loader/isolated/"


def named_modules(tree: ast.AST) -> Iterator[str]:
    """Yield the string constants that a call gives to something that imports by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in IMPORTERS:
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                yield from (v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))


def import_state(tree: ast.AST) -> set[str]:
    """Return which parts of the import system's state the code names."""
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            found |= {alias.name for alias in node.names}
    return found & IMPORT_STATE


def sources(repository: Path, *packages: str) -> dict[str, ast.Module]:
    found = {}
    for package in packages:
        root = repository / "packages" / package.replace("_", "-") / "src"
        for path in root.rglob("*.py"):
            found[path.relative_to(root).as_posix()] = ast.parse(path.read_text())
    return found


def test_application_code_never_imports_a_zoo_by_string(repository: Path) -> None:
    found = {
        file: [name for name in named_modules(tree) if name.partition(".")[0] == "model_zoo"]
        for file, tree in sources(repository, "app_loader", "mpt_format", "policy_interface").items()
    }
    assert {file: names for file, names in found.items() if names} == {}


def test_only_isolation_touches_the_import_system(repository: Path) -> None:
    found = {
        file: names
        for file, tree in sources(repository, "app_loader", "mpt_format", "model_zoo", "policy_interface").items()
        if (names := import_state(tree)) and not file.startswith(ISOLATION)
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('importlib.import_module("model_zoo")', ["model_zoo"]),
        ('import_module(name="model_zoo.layers")', ["model_zoo.layers"]),
        ('__import__("model_zoo")', ["model_zoo"]),
        ('importlib.util.find_spec("model_zoo")', ["model_zoo"]),
        ('print("model_zoo")', []),
    ],
)
def test_import_by_string_is_seen(source: str, names: list[str]) -> None:
    assert list(named_modules(ast.parse(source))) == names


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import sys\nsys.modules['x'] = 1", {"modules"}),
        ("from sys import meta_path as m", {"meta_path"}),
        ("import sys\nsys.argv", set()),
        ("class A:\n    modules = 1", set()),
    ],
)
def test_use_of_the_import_system_is_seen(source: str, names: set[str]) -> None:
    assert import_state(ast.parse(source)) == names


def imported_by(statement: str) -> set[str]:
    """Return the top-level modules that stand in sys.modules of a fresh interpreter after the statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_loader_imports_no_zoo() -> None:
    assert not {name for name in imported_by("import app_loader") if name.startswith("model_zoo")}


@pytest.mark.parametrize("package", ["policy_interface", "mpt_format"])
def test_importing_a_light_package_imports_no_torch(package: str) -> None:
    assert not {"torch", "numpy"} & imported_by(f"import {package}")


def test_the_command_starts_without_torch() -> None:
    assert not {"torch", "numpy"} & imported_by("import mpt_format.cli")


def test_the_format_imports_neither_contract_nor_model_code() -> None:
    assert not {"policy_interface", "model_zoo", "app_loader", "pydantic"} & imported_by("import mpt_format")


def test_model_code_imports_nothing_of_the_application() -> None:
    assert not {"mpt_format", "app_loader"} & imported_by("import model_zoo")
