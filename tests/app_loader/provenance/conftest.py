"""A repository with a project that builds itself: its backend is a file in it, so a build needs nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BACKEND = """
import base64, hashlib, os, pathlib, time, tomllib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    info = f"{name}-{version}.dist-info"
    files = {p.as_posix(): p.read_bytes() for p in sorted(pathlib.Path(name).rglob("*")) if p.is_file()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: {project['name']}\\nVersion: {version}\\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    for group, points in project.get("entry-points", {}).items():
        lines = "".join(f"{key} = {value}\\n" for key, value in points.items())
        files[f"{info}/entry_points.txt"] = f"[{group}]\\n{lines}".encode()
    rows = [f"{p},sha256={base64.urlsafe_b64encode(hashlib.sha256(d).digest()).rstrip(b'=').decode()},{len(d)}"
            for p, d in files.items()]
    files[f"{info}/RECORD"] = "\\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    stamp = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    target = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, target), "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, stamp), data)
    return target
"""

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Return a runner of git commands in the repository."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def run(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet")
    return run


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """Return a repository with the project ``toy-zoo`` in ``packages/zoo`` and one commit."""
    folder = tmp_path / "repository"
    project = folder / "packages" / "zoo"
    (project / "toy_zoo").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "toy-zoo"\nversion = "1.0"\n\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(BACKEND)
    (project / "toy_zoo" / "__init__.py").write_text("answer = 1\n")
    (project / "toy_zoo" / "data.bin").write_bytes(bytes(range(256)))
    (project / "toy_zoo" / "doomed.py").write_text("gone = True\n")
    (folder / ".gitignore").write_text("*.log\n__pycache__/\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return folder


@pytest.fixture
def package(repository: Path) -> Path:
    """Return the folder of the package in the repository."""
    return repository / "packages" / "zoo" / "toy_zoo"
