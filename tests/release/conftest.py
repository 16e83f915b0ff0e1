"""A small checkout with one package of each name that matters, under git, to release from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

from tools.release.build import build_wheel
from tools.release.packages import ROOT, get_package
from tools.release.promises.probe import unpack_wheel
from tools.release.release import release

EPOCH = 1_700_000_000


@pytest.fixture(scope="session")
def contract_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return today's policy-interface, built and unpacked."""
    folder = tmp_path_factory.mktemp("contract")
    wheel = build_wheel(get_package("policy-interface").folder, folder, epoch=EPOCH)
    return unpack_wheel(wheel, folder)


@pytest.fixture(scope="session")
def zoo_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny zoo of assets/ as an unpacked wheel."""
    folder = tmp_path_factory.mktemp("zoo")
    return unpack_wheel(build_wheel(Path(__file__).parent / "assets/tiny-zoo", folder, epoch=EPOCH), folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout with a package `mpt-format` of one module and a changelog fragment."""
    return make_checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout in which 1.0.0 has been released with every step; not to be changed."""
    root = make_checkout(tmp_path_factory.mktemp("first") / "checkout")
    release(get_package("mpt-format", root), Version("1.0.0"), dry_run=False, say=lambda _: None)
    return root


@pytest.fixture
def released(first_release: Path, tmp_path: Path) -> Path:
    """Return a copy of the checkout after release 1.0.0."""
    return Path(shutil.copytree(first_release, tmp_path / "released"))


def make_checkout(root: Path) -> Path:
    assets = Path(__file__).parent / "assets/checkout"
    shutil.copytree(assets, root)
    shutil.copy(ROOT / "towncrier.toml", root)
    template = root / "tools/release/changelog.jinja"
    template.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tools/release/changelog.jinja", template)
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["config", "user.name", "Releaser"],
        ["config", "user.email", "releaser@example.org"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "Begin"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root
    return root
