"""Runs `end_to_end/mettagrid` in an environment of its own, with a Python 3.12 that is on the machine.

Without one nothing can be run, and that is said where nobody overlooks it: in the output and, on GitHub, as a warning
of the run. No interpreter is ever downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.release.uv import find_uv

ROOT = Path(__file__).resolve().parents[2]
TESTS = "end_to_end/mettagrid"
ENVIRONMENT = ROOT / ".venv-mettagrid"
WANTED = (3, 12)


def main() -> int:
    """Run the tests; exit code 0 also when there is no Python 3.12, after saying so."""
    python = find_python()
    if python is None:
        print("NOT RUN: no Python 3.12 on this machine, so nothing was tested in mettagrid", flush=True)
        if os.environ.get("GITHUB_ACTIONS"):
            print("::warning title=mettagrid::no Python 3.12, so nothing was tested in mettagrid", flush=True)
        return 0
    print(f"mettagrid end to end with {python}", flush=True)
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    environment.pop("VIRTUAL_ENV", None)
    sync = ["sync", "--quiet", "--locked", "--python", str(python), "--all-packages", "--extra", "mettagrid"]
    subprocess.run([find_uv(), *sync], cwd=ROOT, env=environment, check=True)
    # importnb comes with mettagrid; its pytest plugin does not load under pytest 9
    plugins = ["-p", "no:cacheprovider", "-p", "no:importnb"]
    command = [str(ENVIRONMENT / "bin/python"), "-m", "pytest", *plugins, "-v", "-s", TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def find_python() -> Path | None:
    """Return a Python of the wanted version, or None."""
    return next((path for path in _candidates() if _version(path) == WANTED), None)


def _candidates() -> Iterator[Path]:
    name = f"python{WANTED[0]}.{WANTED[1]}"
    found = shutil.which(name)
    if found:
        yield Path(found)
    # the launcher on the PATH may be another version manager's, which refuses to start a version it was not told of
    version = f"{WANTED[0]}.{WANTED[1]}"
    homes = (Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python")
    for folder in (*homes, Path("/opt/hostedtoolcache/Python")):
        yield from sorted(folder.glob(f"*{version}*/bin/{name}"), reverse=True)
        yield from sorted(folder.glob(f"{version}*/*/bin/{name}"), reverse=True)
    yield from (Path(folder, name) for folder in ("/usr/bin", "/usr/local/bin"))


def _version(path: Path) -> tuple[int, int] | None:
    program = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([str(path), "-c", program], capture_output=True, text=True)
    except OSError:
        return None
    numbers = done.stdout.split()
    return (int(numbers[0]), int(numbers[1])) if done.returncode == 0 and len(numbers) == 2 else None


if __name__ == "__main__":
    sys.exit(main())
