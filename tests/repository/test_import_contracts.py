"""Every import contract is kept by the tree and broken by the mistake it is there for."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = {
    "layers": [
        ("policy_interface/errors.py", "import mpt_format"),
        ("mpt_format/_planted.py", "import app_loader"),
        ("mpt_format/_planted.py", "import model_zoo"),
        ("model_zoo/_planted.py", "from mpt_format import __all__"),
    ],
    "format-without-contract": [("mpt_format/_planted.py", "def late() -> None:\n    import policy_interface.config")],
    "zoo-is-never-named": [
        ("app_loader/_planted.py", "import model_zoo"),
        ("mpt_format/_planted.py", "from model_zoo import __all__"),
        ("policy_interface/state.py", "import model_zoo"),
    ],
    "light-contract": [
        ("policy_interface/state.py", "import torch"),
        ("policy_interface/config.py", "def late() -> None:\n    import numpy.typing"),
        ("policy_interface/policy.py", "from policy_interface.testing import check_policy"),
        ("policy_interface/policy.py", "from policy_interface.testing.sampling import sample_actions"),
    ],
    "acyclic-contract": [("policy_interface/config.py", "import policy_interface.game_rules")],
    "acyclic-zoo": [
        ("model_zoo/_planted_a.py", "import model_zoo._planted_b"),
        ("model_zoo/_planted_b.py", "import model_zoo._planted_a"),
    ],
    "acyclic-format": [
        ("mpt_format/_planted_a.py", "import mpt_format._planted_b"),
        ("mpt_format/_planted_b.py", "import mpt_format._planted_a"),
    ],
    "acyclic-loader": [
        ("app_loader/_planted_a.py", "import app_loader._planted_b"),
        ("app_loader/_planted_b.py", "import app_loader._planted_a"),
    ],
}
CASES = [
    pytest.param(contract, [plant], id=f"{contract}-{number}")
    for contract, plants in PLANTED.items()
    if not contract.startswith("acyclic")
    for number, plant in enumerate(plants)
] + [pytest.param(c, plants, id=c) for c, plants in PLANTED.items() if c.startswith("acyclic")]


def lint(tree: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run the linter on the sources that stand in `tree`, whatever is installed."""
    chosen = [argument for contract in contracts for argument in ("--contract", contract)]
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", *chosen],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def declared(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / ".importlinter")
    return parser


def test_tree_keeps_every_contract(source_tree: Path) -> None:
    result = lint(source_tree)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("contract", "plants"), CASES)
def test_contract_catches_a_planted_import(source_tree: Path, contract: str, plants: list[tuple[str, str]]) -> None:
    for file, statement in plants:
        path = source_tree / file
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{statement}\n")
    result = lint(source_tree, contract)
    assert result.returncode == 1, result.stdout + result.stderr


def test_every_contract_has_a_planted_violation(repository: Path) -> None:
    sections = {s.rpartition(":")[2] for s in declared(repository).sections() if ":contract:" in s}
    assert sections == set(PLANTED)


def test_no_contract_ignores_an_import(repository: Path) -> None:
    parser = declared(repository)
    keys = {key for section in parser.sections() for key in parser[section]}
    assert not {key for key in keys if key.startswith(("ignore", "unmatched", "skip"))}


def test_every_package_is_a_root_of_the_contracts(repository: Path) -> None:
    roots = declared(repository)["importlinter"]["root_packages"].split()
    assert sorted(roots) == sorted(p.name for p in repository.glob("packages/*/src/*/") if (p / "__init__.py").exists())


def test_every_light_module_of_the_contract_is_listed(repository: Path) -> None:
    package = repository / "packages/policy-interface/src/policy_interface"
    modules = {
        ".".join(("policy_interface", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        for path in package.rglob("*.py")
    }
    heavy = {module for module in modules if module.startswith("policy_interface.testing")}
    section = declared(repository)["importlinter:contract:light-contract"]
    assert set(section["source_modules"].split()) == modules - heavy
    assert set(section["forbidden_modules"].split()) == heavy | {"torch", "numpy"}
