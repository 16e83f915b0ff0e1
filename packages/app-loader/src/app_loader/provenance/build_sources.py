"""Where a build takes what it requires from: uv's cache, wheelhouses, and indexes for the names they are listed for.

What comes from an index is pinned before: every requirement is resolved with the wheelhouses and with the indexes that
are listed for its name, and the build gets the digests that were found. Nothing else is let in, so that a stranger's
wheel of the same name and a higher version, on an index that is listed for other names, is not.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app_loader.child_process import run, uv_environment
from app_loader.credentials import hide_credentials
from app_loader.settings import Settings
from app_loader.store.shared import applies
from app_loader.uv_command import uv_command

_TIMEOUT_S = 120.0


class UnpinnedBuildError(Exception):
    """What a build requires cannot be had from where it may come from.

    Attributes:
        problems: every reason, in words.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(problems)


def choose_sources(requires: Sequence[Requirement], settings: Settings, scratch: Path, *, offline: bool) -> list[str]:
    """Return the words that tell ``uv build`` where to take what the build requires from.

    Args:
        requires: what the project's build requires.
        settings: the wheelhouses and indexes.
        scratch: a folder of ours.
        offline: whether nothing may be fetched.

    Raises:
        UnpinnedBuildError: something cannot be had, or only from where it may not come from.
    """
    asked = [each for each in requires if applies(each)]
    if offline or not any(_listed(each.name, settings) for each in asked):
        return [*_find_links(settings), "--offline"]
    pinned = _pin(asked, settings)
    constraints = scratch / "build-constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in pinned.values()), encoding="utf-8")
    urls = dict.fromkeys(url for name in pinned for url in _listed(name, settings))
    words = [*_find_links(settings), *_index_options(list(urls))]
    return [*words, "--build-constraints", str(constraints), "--require-hashes"]


def _pin(asked: Sequence[Requirement], settings: Settings) -> dict[str, str]:
    """Return a line with version and digests for each distribution that the build is made with, by its name."""
    first = [_only(str(each), each.name, settings) for each in asked]
    exact = [f"{package['name']}=={package['version']}" for package in first]
    everything = [url for package in first for url in _listed(str(package["name"]), settings)]
    others = [index.url for index in settings.indexes]
    found = {canonicalize_name(str(package["name"])): package for package in first}
    for package in _lock(exact, list(dict.fromkeys([*everything, *others])), settings, with_dependencies=True):
        name = canonicalize_name(str(package["name"]))
        if name not in found:  # resolved over all indexes; taken from those listed for it
            found[name] = _only(f"{name}=={package['version']}", name, settings)
    return {name: _line(package) for name, package in found.items()}


def _only(requirement: str, name: str, settings: Settings) -> dict[str, Any]:
    """Return one distribution as the wheelhouses or the indexes that are listed for it have it."""
    urls = _listed(name, settings)
    try:
        return _lock([requirement], urls, settings, with_dependencies=False)[0]
    except UnpinnedBuildError:
        if urls:
            raise
        problem = f"it is built with {requirement}: no index is listed for {name}, and no wheelhouse has it"
        raise UnpinnedBuildError([problem]) from None


def _line(package: dict[str, Any]) -> str:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    digests = sorted({str(each["hashes"]["sha256"]) for each in files if "sha256" in each.get("hashes", {})})
    what = f"{package['name']}=={package['version']}"
    if not digests:
        raise UnpinnedBuildError([f"the index announces no digest of {what}, with which it is built"])
    return " ".join([what, *(f"--hash=sha256:{digest}" for digest in digests)])


def _lock(
    requirements: Sequence[str], urls: list[str], settings: Settings, *, with_dependencies: bool
) -> list[dict[str, Any]]:
    """Return the packages that requirements resolve to, as they stand in a lock. Source: PEP 751."""
    command = [*uv_command(), "pip", "compile", "-", "--quiet", "--no-config", "--format", "pylock.toml"]
    command += ["--python", sys.executable, "--index-strategy", "first-index", "--no-python-downloads"]
    command += [*_find_links(settings), *_index_options(urls)]
    if not with_dependencies:
        command.append("--no-deps")
    given = "\n".join(requirements).encode()
    try:
        done = run(command, Path.cwd(), environment=uv_environment(), timeout_s=_TIMEOUT_S, given=given)
    except subprocess.TimeoutExpired:
        raise UnpinnedBuildError([f"the indexes did not answer within {_TIMEOUT_S:g} seconds"]) from None
    except OSError as error:
        raise UnpinnedBuildError([f"uv cannot be run: {error}"]) from error
    if done.returncode:
        said = hide_credentials(done.stderr.decode(errors="replace")).strip().splitlines()
        raise UnpinnedBuildError([f"it is built with {', '.join(requirements)}, which cannot be had:", *said[-8:]])
    packages: list[dict[str, Any]] = tomllib.loads(done.stdout.decode()).get("packages", [])
    return packages


def _listed(name: str, settings: Settings) -> list[str]:
    return [index.url for index in settings.indexes if index.gives(name)]


def _find_links(settings: Settings) -> list[str]:
    return [word for folder in settings.wheelhouses if folder.is_dir() for word in ("--find-links", str(folder))]


def _index_options(urls: Sequence[str]) -> list[str]:
    """Return options for indexes in their order; folders of wheels are searched, and no index at all means none."""
    flat = [url for url in urls if "://" not in url and any(Path(url).glob("*.whl"))]
    simple = [_as_url(url) for url in urls if url not in flat]
    words = [word for url in flat for word in ("--find-links", url)]
    for place, url in enumerate(simple):  # uv asks what stands behind --index before what stands behind --default-index
        words += ["--default-index" if place == len(simple) - 1 else "--index", url]
    return words if simple else [*words, "--no-index"]


def _as_url(url: str) -> str:
    return url if "://" in url else Path(url).absolute().as_uri()
