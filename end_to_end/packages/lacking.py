"""What versions of a package need, beyond themselves, that this environment has not: one copy of it for all of them.

The resolver is told to keep whatever is installed here, whatever a version asks for, as an application that loads old
code does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def install_lacking(sets: Iterable[str], folder: Path) -> list[str]:
    """Install into a folder what the sets lack, newest versions first come.

    Args:
        sets: ``name==version`` of a package and its private companions, comma-separated; the last set chooses first.
        folder: where the packages go that no set has and this environment has not.

    Returns:
        What was installed, as ``name==version``.
    """
    kept = {
        canonicalize_name(each.name): each.version
        for each in metadata.distributions()
        if each.read_text("direct_url.json") is None
    }
    lacking: dict[str, str] = {}
    for requirements in reversed(list(sets)):
        own = [Requirement(text) for text in requirements.split(",")]
        names = {canonicalize_name(each.name) for each in own}
        for name, version in _resolved(own, {**kept, **lacking}).items():
            if name not in kept and name not in names:
                lacking[name] = version
    chosen = [f"{name}=={version}" for name, version in lacking.items()]
    if chosen:
        subprocess.run(["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *chosen], check=True)
    return chosen


def _resolved(own: list[Requirement], kept: dict[str, str]) -> dict[str, str]:
    """Return name to version of all that a set needs; versions of the set and those that are kept are not asked."""
    versions = {**{name: f"=={version}" for name, version in kept.items()}}
    versions |= {canonicalize_name(each.name): str(each.specifier) for each in own}
    with tempfile.TemporaryDirectory() as scratch:
        overrides = Path(scratch, "overrides.txt")
        overrides.write_text("".join(f"{name}{version}\n" for name, version in versions.items()))
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", sys.executable]
        wanted = "\n".join(map(str, own))
        done = subprocess.run(
            [*command, "--overrides", str(overrides), "-"], input=wanted, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    pairs = (line.partition(";")[0].strip().partition("==") for line in done.stdout.splitlines() if "==" in line)
    return {canonicalize_name(name): version for name, _, version in pairs}
