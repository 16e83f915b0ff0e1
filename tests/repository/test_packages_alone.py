"""Each package, built into a wheel, installs and imports with nothing but its declared dependencies beside it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tools.release.build import build_reproducible_wheel, build_wheel
from tools.release.errors import RehearsalError
from tools.release.packages import Package, get_package
from tools.release.rehearsal import make_environment
from tools.release.wheelhouse import write_index

PACKAGES = ["policy-interface", "mpt-format", "model-zoo", "app-loader"]
OWN = {"policy_interface", "mpt_format", "model_zoo", "app_loader"}
# the own packages that a package declares, itself included
DECLARED = {
    "policy-interface": {"policy_interface"},
    "mpt-format": {"mpt_format"},
    "model-zoo": {"model_zoo", "policy_interface"},
    "app-loader": {"app_loader", "mpt_format", "policy_interface"},
}
EPOCH = 1_700_000_000
# the conformance check runs policies, so it asks for the torch that model code brings
NEEDS_TORCH = {"policy-interface": ["check_policy"]}
PROGRAM = """
import importlib, importlib.util, json, pkgutil, sys
name, own = sys.argv[1], sys.argv[2].split(",")
package = importlib.import_module(name)
def given(attribute):
    try:
        return hasattr(package, attribute)
    except ModuleNotFoundError as error:
        return error.name != "torch"
missing = [n for n in package.__all__ if not given(n)]
found = [n for n in own if importlib.util.find_spec(n)]
torch = importlib.util.find_spec("torch") is not None
print(json.dumps({"missing": missing, "found": found, "torch": torch}))
"""


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheelhouse with today's wheel of every package."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    for name in PACKAGES:
        build_wheel(get_package(name).folder, folder, epoch=EPOCH)
    write_index(folder)
    return folder


def wheel_of(wheelhouse: Path, package: Package) -> Path:
    (found,) = wheelhouse.glob(f"{package.module}-*.whl")
    return found


@pytest.mark.parametrize("name", PACKAGES)
def test_package_installs_and_imports_alone(name: str, wheelhouse: Path, tmp_path: Path, repository: Path) -> None:
    package = get_package(name)
    environment = make_environment(
        tmp_path / "env", [f"{name}=={package.version}"], index=wheelhouse / "simple", root=repository
    )
    answer = json.loads(environment.run(PROGRAM, package.module, ",".join(sorted(OWN))))
    assert answer["missing"] == NEEDS_TORCH.get(name, [])
    assert set(answer["found"]) == DECLARED[name]
    assert answer["torch"] == (name in ("model-zoo", "app-loader"))


def test_wheel_is_the_same_bytes_wherever_it_is_built(wheelhouse: Path, tmp_path: Path) -> None:
    package = get_package("policy-interface")
    wheel = build_reproducible_wheel(package.folder, tmp_path, epoch=EPOCH)
    assert wheel.read_bytes() == wheel_of(wheelhouse, package).read_bytes()


@pytest.mark.parametrize("name", PACKAGES)
def test_wheel_holds_its_import_package_and_nothing_else(name: str, wheelhouse: Path) -> None:
    package = get_package(name)
    with zipfile.ZipFile(wheel_of(wheelhouse, package)) as archive:
        names = archive.namelist()
    tops = {member.partition("/")[0] for member in names}
    assert tops == {package.module, f"{package.module}-{package.version}.dist-info"}
    assert f"{package.module}/py.typed" in names
    assert not [m for m in names if "__pycache__" in m or m.startswith(f"{package.module}/tests/")]


def test_failing_program_says_what_it_printed(wheelhouse: Path, tmp_path: Path, repository: Path) -> None:
    environment = make_environment(tmp_path / "env", ["policy-interface"], index=wheelhouse / "simple", root=repository)
    with pytest.raises(RehearsalError, match="No module named 'mpt_format'"):
        environment.run("import mpt_format")
