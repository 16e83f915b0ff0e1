"""Building a wheel again from a recorded commit and difference, in a clean work tree of its own.

The build runs the project's build backend, with all rights: it happens only where a person asked for it. What is built
does not depend on this machine's git configuration, files are checked out byte for byte, and `SOURCE_DATE_EPOCH` is the
commit's time, so that a reproducible backend gives the same bytes.
Source: https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app_loader.child_process import run, uv_environment
from app_loader.credentials import hide_credentials, strip_credentials
from app_loader.errors import ProvenanceError
from app_loader.package_digest import package_digest
from app_loader.provenance.build_sources import UnpinnedBuildError, choose_sources
from app_loader.provenance.checkout import check_out, commit_time
from app_loader.provenance.git import GitError, plain_git
from app_loader.provenance.large_files import fill_pointers
from app_loader.provenance.project import build_requirements, find_package, find_project, read_build_requirements
from app_loader.settings import Settings
from app_loader.uv_command import uv_command

_TIMEOUT_S = 600.0
_UNPINNED = re.compile(r"no trusted hash was provided for: `([^`]+)`")
"""How uv names a distribution that the build wants and that no digest was given for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A wheel and what it was built from.

    Attributes:
        path: the wheel file.
        repository: what was checked out, without credentials.
        commit: the full commit, hex.
        subdirectory: the project's folder in the repository, empty for its top.
        with_diff: whether a recorded difference was applied.
        source: the package's files as they were before the build, None where no package was asked for or found.
        source_sha256: their digest.
        missing: files of the package whose content git LFS keeps elsewhere.
    """

    path: Path
    repository: str
    commit: str
    subdirectory: str
    with_diff: bool
    source: Path | None = None
    source_sha256: str | None = None
    missing: tuple[str, ...] = ()


def build_wheel(
    repository: str,
    commit: str,
    scratch: Path,
    *,
    distribution: str | None = None,
    version: str | None = None,
    package: str | None = None,
    subdirectory: str | None = None,
    diff: bytes | None = None,
    offline: bool = True,
    settings: Settings | None = None,
) -> BuiltWheel:
    """Build the wheel of one project of a repository at a commit.

    Args:
        repository: a local folder or a URL.
        commit: a commit, tag or branch.
        scratch: an empty folder, made where it is not there, for the checkout and the wheel.
        distribution: the project's name, to find its folder.
        version: the version to build, for backends that would ask the tags of the repository for it.
        package: its top-level package, to find its folder and to compare its files.
        subdirectory: its folder, where the name does not decide.
        diff: a difference to apply to the commit first.
        offline: build with what uv has cached and what the wheelhouses have.
        settings: the wheelhouses and indexes that may give what the build requires.

    Raises:
        ProvenanceError: the commit is not there, the difference does not apply, the project is not found, or the
            build failed; git's or uv's own words are the problem.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    tree = scratch / "tree"
    shown = strip_credentials(repository)
    subject = f"{shown} at {commit[:12]}"
    checkout = check_out(repository, commit, tree, subject=subject, timeout_s=_TIMEOUT_S)
    if diff:
        _apply(diff, scratch, tree, subject)
    project = tree / subdirectory if subdirectory else find_project(tree, distribution, package)
    if project is None:
        raise ProvenanceError(
            subject,
            [f"no pyproject.toml, setup.cfg or setup.py in it names the project {distribution}"],
            "mpt zoo add REPOSITORY --commit COMMIT --subdirectory FOLDER",
        )
    if not project.resolve().is_relative_to(tree.resolve()) or not project.is_dir():
        raise ProvenanceError(subject, [f"it has no folder {subdirectory!r}"], "git ls-tree -r --name-only COMMIT")
    missing = fill_pointers(project, checkout.git_folder)
    source = find_package(project, package) if package else None
    source_sha256 = package_digest(source) if source else None
    built = _build(project, scratch / "wheels", subject, commit_time(tree), version, offline, settings or Settings())
    folder = project.resolve().relative_to(tree.resolve()).as_posix()
    return BuiltWheel(
        path=built,
        repository=shown,
        commit=checkout.commit,
        subdirectory="" if folder == "." else folder,
        with_diff=bool(diff),
        source=source,
        source_sha256=source_sha256,
        missing=tuple(missing),
    )


def _apply(diff: bytes, scratch: Path, tree: Path, subject: str) -> None:
    patch = scratch / "source.diff"
    patch.write_bytes(diff)
    try:
        plain_git(tree, "apply", "--index", "--binary", "--whitespace=nowarn", str(patch))
    except GitError as error:
        raise ProvenanceError(
            subject,
            ["the recorded difference does not apply to it", *error.said],
            "git -C REPOSITORY log   # is it the repository that the archive names?",
        ) from None


def _build(
    project: Path, wheels: Path, subject: str, epoch: str, version: str | None, offline: bool, settings: Settings
) -> Path:
    required, problems = read_build_requirements(project)
    advice = _advise(build_requirements(project))
    if problems:
        raise ProvenanceError(subject, problems, "git log -p -- pyproject.toml   # or the difference of the archive")
    try:
        sources = choose_sources(required, settings, wheels.parent, offline=offline)
    except UnpinnedBuildError as error:
        raise ProvenanceError(subject, error.problems, advice) from None
    command = [*uv_command(), "build", "--quiet", "--wheel", "--no-config", "--no-sources", "--no-python-downloads"]
    command += ["--python", sys.executable, "--out-dir", str(wheels), *sources]
    environment = {
        **{name: value for name, value in uv_environment().items() if not name.startswith("GIT_")},
        **_version_environment(version),
        "SOURCE_DATE_EPOCH": epoch,
        "TZ": "UTC",
    }
    try:
        done = run([*command, str(project)], project, environment=environment, timeout_s=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ProvenanceError(subject, [f"the build took longer than {_TIMEOUT_S:g} seconds"], advice) from None
    except OSError as error:
        raise ProvenanceError(subject, [f"uv cannot be run: {error}"], "pip install uv") from error
    if done.returncode:
        text = hide_credentials((done.stderr or done.stdout).decode(errors="replace")).strip()
        advice = _advise(build_requirements(project), _UNPINNED.findall(text))
        raise ProvenanceError(subject, ["uv build failed", *text.splitlines()[-8:]], advice)
    built = sorted(wheels.glob("*.whl"))
    if len(built) != 1:
        raise ProvenanceError(subject, [f"the build gave {len(built)} wheels, one is expected"], "uv build --wheel")
    return built[0]


def _advise(needed: Sequence[str], unpinned: Sequence[str] = ()) -> str:
    """Return how to have what a build needs, and what only its backend asks for, which nobody could pin before."""
    names = " ".join(map(shlex.quote, dict.fromkeys([*needed, *unpinned])))
    how = "with fetch = false" if unpinned else "or list an index for it there, with fetch = true"
    return (
        f"pip download --only-binary :all: --dest WHEELHOUSE {names}   # what it is built with, into a wheelhouse of "
        f"mpt.toml; {how}"
    )


def _version_environment(version: str | None) -> Mapping[str, str]:
    """Return how the backends are told the version that would otherwise be made up from tags and the tree's state."""
    if version is None:
        return {}
    names = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "POETRY_DYNAMIC_VERSIONING_BYPASS")
    return dict.fromkeys(names, version)
