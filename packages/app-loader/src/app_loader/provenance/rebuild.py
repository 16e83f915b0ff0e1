"""Building a wheel again from a recorded commit and difference, in a clean work tree of its own.

The build runs the project's build backend: it happens only where a person asked for it. `SOURCE_DATE_EPOCH` is the
commit's time, so that a reproducible backend gives the same bytes. Source: https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from app_loader.errors import ProvenanceError
from app_loader.uv_command import uv_command

_TIMEOUT_S = 600
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A wheel and what it was built from.

    Attributes:
        path: the wheel file.
        repository: what was cloned.
        commit: the full commit, hex.
        subdirectory: the project's folder in the repository, empty for its top.
        with_diff: whether a recorded difference was applied.
    """

    path: Path
    repository: str
    commit: str
    subdirectory: str
    with_diff: bool


def build_wheel(
    repository: str,
    commit: str,
    scratch: Path,
    *,
    distribution: str | None = None,
    subdirectory: str | None = None,
    diff: bytes | None = None,
    offline: bool = True,
) -> BuiltWheel:
    """Build the wheel of one project of a repository at a commit.

    Args:
        repository: a local folder or a URL.
        commit: a commit, tag or branch.
        scratch: an empty folder, made where it is not there, for the clone and the wheel.
        distribution: the project's name, to find its folder.
        subdirectory: its folder, where the name does not decide.
        diff: a difference to apply to the commit first.
        offline: build with what uv has cached only.

    Raises:
        ProvenanceError: the commit is not there, the difference does not apply, the project is not found, or the
            build failed; git's or uv's own words are the problem.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    tree = scratch / "tree"
    subject = f"{repository} at {commit[:12]}"
    _run(["git", *_SAFE, "clone", "--quiet", "--no-checkout", "--", repository, str(tree)], scratch, subject)
    _run(["git", *_SAFE, "checkout", "--quiet", "--detach", commit], tree, subject)
    full = _run(["git", "rev-parse", "HEAD"], tree, subject).strip()
    epoch = _run(["git", "log", "-1", "--format=%ct"], tree, subject).strip()
    if diff:
        patch = scratch / "source.diff"
        patch.write_bytes(diff)
        _run(["git", *_SAFE, "apply", "--binary", "--whitespace=nowarn", str(patch)], tree, subject)
    project = tree / subdirectory if subdirectory else _find_project(tree, distribution, subject)
    if not project.resolve().is_relative_to(tree.resolve()) or not project.is_dir():
        raise ProvenanceError(subject, [f"it has no folder {subdirectory!r}"], "git ls-tree -r --name-only COMMIT")
    wheels = scratch / "wheels"
    command = [*uv_command(), "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(project)]
    command += ["--offline"] if offline else []
    _run(command, tree, subject, {"SOURCE_DATE_EPOCH": epoch, "TZ": "UTC"})
    built = sorted(wheels.glob("*.whl"))
    if len(built) != 1:
        raise ProvenanceError(subject, [f"the build gave {len(built)} wheels, one is expected"], "uv build --wheel")
    folder = project.resolve().relative_to(tree.resolve()).as_posix()
    return BuiltWheel(
        path=built[0],
        repository=repository,
        commit=full,
        subdirectory="" if folder == "." else folder,
        with_diff=bool(diff),
    )


def _find_project(tree: Path, distribution: str | None, subject: str) -> Path:
    """Return the folder whose pyproject.toml names the distribution; the top where there is nothing to choose."""
    if distribution is None:
        return tree
    wanted = _normal(distribution)
    for path in sorted(tree.rglob("pyproject.toml"), key=lambda path: len(path.parts)):
        try:
            name = tomllib.loads(path.read_text("utf-8")).get("project", {}).get("name", "")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue
        if _normal(str(name)) == wanted:
            return path.parent
    raise ProvenanceError(
        subject, [f"no pyproject.toml in it names the project {distribution}"], "mpt zoo add ... --subdirectory FOLDER"
    )


def _run(command: list[str], folder: Path, subject: str, environment: dict[str, str] | None = None) -> str:
    settings = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", **(environment or {})}
    settings.pop("VIRTUAL_ENV", None)
    try:
        done = subprocess.run(
            command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvenanceError(subject, [f"{command[0]}: {error}"], f"{command[0]} --version") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ProvenanceError(subject, [f"{command[0]} {command[-1]} failed", *said[-6:]], "git -C REPOSITORY log")
    return done.stdout


def _normal(name: str) -> str:
    return name.replace("_", "-").replace(".", "-").lower()
