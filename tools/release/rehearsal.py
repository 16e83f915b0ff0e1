"""The rehearsal: a built wheel in a clean environment that holds its declared dependencies and nothing else.

Own packages come from the given index only, everything else in the versions of uv.lock. uv's cache makes an
environment with torch a matter of seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from tools.release.build import build_wheel
from tools.release.errors import RehearsalError
from tools.release.packages import Package
from tools.release.uv import find_uv
from tools.release.wheelhouse import read_wheelhouse, write_index


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanEnvironment:
    """A virtual environment with one requirement installed.

    Attributes:
        python: its interpreter.
    """

    python: Path

    def run(self, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a Python program in isolated mode and return what it printed.

        Raises:
            RehearsalError: it failed; the message holds the end of its output.
        """
        command = [str(self.python), "-I", "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        if done.returncode:
            raise RehearsalError(f"in {self.python.parent.parent}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout


def make_environment(folder: Path, requirements: Sequence[str], *, index: Path, root: Path) -> CleanEnvironment:
    """Make a virtual environment with these requirements.

    Args:
        folder: where to make it.
        requirements: as pip reads them.
        index: a folder as `wheelhouse/simple`; asked first, and alone for the names that it has.
        root: the checkout whose uv.lock gives the versions of everything else.

    Raises:
        RehearsalError: the requirements cannot be installed.
    """
    uv = find_uv()
    constraints = folder.with_name(f"{folder.name}-constraints.txt")
    export = ["export", "--quiet", "--frozen", "--directory", str(root), "--all-packages", "--all-extras"]
    export += ["--no-emit-workspace", "--no-hashes", "--output-file", str(constraints)]
    _run([uv, *export])
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = ["pip", "install", "--quiet", "--python", str(python), "--constraints", str(constraints)]
    _run([uv, *install, "--index", index.resolve().as_uri(), *requirements])
    return CleanEnvironment(python=python)


def rehearse(package: Package, version: Version, *, index: Path, scratch: Path, say: Callable[[str], None]) -> None:
    """Install a released version from an index and put it to the test: alone first, then with the package's own tests.

    Args:
        package: the package, in the checkout that its tests are taken from.
        version: the version to install; the index holds its wheel.
        index: as `wheelhouse/simple`.
        scratch: a folder for the environments.
        say: told what is being done.

    Raises:
        RehearsalError: it does not install, does not import, or fails its tests.
    """
    pinned = f"{package.name}=={version}"
    alone = make_environment(scratch / "alone", [pinned], index=index, root=package.root)
    found = alone.run(_INTRODUCE, package.module, package.name).strip()
    if found != str(version):
        raise RehearsalError(f"the installed {package.name} says it is {found}, expected {version}")
    say(f"running tests/{package.module} against the wheel")
    companions = _companions(package, index.parent, scratch / "companions", epoch=_EPOCH)
    environment = make_environment(
        scratch / "tests", [pinned, *_development(package.root)], index=companions / "simple", root=package.root
    )
    environment.run(_RUN_TESTS, str(package.root), f"tests/{package.module}")


def _companions(package: Package, wheelhouse: Path, folder: Path, *, epoch: int) -> Path:
    """Make an index with the released wheel and one wheel of every other package: the tests use them together.

    A version that is released already is taken as it was released; any other is built from the tree.
    """
    folder.mkdir()
    for wheel in read_wheelhouse(wheelhouse):
        shutil.copy(wheel.path, folder)
    for path in sorted(package.root.glob("packages/*/pyproject.toml")):
        other = Package(name=path.parent.name, root=package.root)
        if not list(folder.glob(f"{other.module}-{other.version}-*.whl")):
            build_wheel(other.folder, folder, epoch=epoch)
    write_index(folder)
    return folder


def _development(root: Path) -> list[str]:
    """Return what the development environment of a checkout asks for, its own packages with their extras included."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return [*table["project"].get("dependencies", ()), *table.get("dependency-groups", {}).get("dev", ())]


_EPOCH = 315532800  # 1980, the first year that a zip file knows: companions are never released

_INTRODUCE = """
import importlib, sys
from importlib import metadata
importlib.import_module(sys.argv[1])
print(metadata.version(sys.argv[2]))
"""
_RUN_TESTS = """
import os, sys
os.chdir(sys.argv[1])
import pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", sys.argv[2]]))
"""


def _run(command: Sequence[str]) -> None:
    # the environment of the running project must not leak into the new one
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RehearsalError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
