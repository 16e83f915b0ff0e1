"""Where a build takes what it requires from: uv's cache, wheelhouses, and indexes for the names they are listed for.

What comes from an index is pinned before: every requirement is resolved with the wheelhouses and with the indexes that
are listed for its name, and the build gets the digests that were found. Nothing else is let in, so that a stranger's
wheel of the same name and a higher version, on an index that is listed for other names, is not.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from app_loader.child_process import run, uv_environment
from app_loader.credentials import hide_credentials
from app_loader.settings import Settings
from app_loader.store.shared import applies
from app_loader.uv_command import uv_command

_TIMEOUT_S = 120.0
_ASKS_FOR_NO_WHEEL = Version("70.1")
"""Setuptools before this version asks for ``wheel`` while it runs, which no file of a project says."""


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
    pinned = _pin(asked, settings, scratch)
    constraints = scratch / "build-constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in pinned.values()), encoding="utf-8")
    urls = dict.fromkeys(url for name in pinned for url in _listed(name, settings))
    words = [*_find_links(settings), *_index_options(list(urls))]
    words += ["--index-strategy", "unsafe-best-match"]  # all are searched, for the digest decides which file it is
    return [*words, "--build-constraints", str(constraints), "--require-hashes"]


def _pin(asked: Sequence[Requirement], settings: Settings, scratch: Path) -> dict[str, str]:
    """Return a line with version and digests for each distribution that the build is made with, by its name."""
    found = _resolve([str(each) for each in asked], settings, scratch)
    pinned = {name: _line(package) for name, package in found.items()}
    setuptools = found.get("setuptools")
    if setuptools and "wheel" not in found and Version(str(setuptools["version"])) < _ASKS_FOR_NO_WHEEL:
        exact = [f"{package['name']}=={package['version']}" for package in found.values()]
        with contextlib.suppress(UnpinnedBuildError):  # where it cannot be had, the build says that it lacks it
            wheel = _resolve([*exact, "wheel"], settings, scratch)
            pinned = {name: _line(package) for name, package in wheel.items()}
    return pinned


def _resolve(asked: Sequence[str], settings: Settings, scratch: Path) -> dict[str, dict[str, Any]]:
    """Return what requirements resolve to, by name, each as the places that are listed for its name have it.

    Everything is resolved together over all indexes, so that an older version is found where the newest does not fit.
    Only the version is taken from that: the digest is that of the places that are listed for the name. Where they do
    not have the version, the name is bound to the newest that they have, and everything is resolved again.
    """
    urls = [index.url for index in settings.indexes]
    bound: dict[str, dict[str, Any]] = {}
    while True:
        try:
            chosen = _lock(asked, urls, settings, constraints=_write_bounds(bound, scratch), best_match=bool(bound))
        except UnpinnedBuildError:
            if bound:
                raise
            names = dict.fromkeys(canonicalize_name(Requirement(each).name) for each in asked)
            bound = {name: _only(_of(name, asked), name, settings) for name in names}
            continue
        found: dict[str, dict[str, Any]] = {}
        newly: dict[str, dict[str, Any]] = {}
        refused: list[str] = []
        for package in chosen:
            name, version = canonicalize_name(str(package["name"])), package["version"]
            try:
                found[name] = bound.get(name) or _only([f"{name}=={version}"], name, settings)
            except UnpinnedBuildError as error:
                refused += error.problems
                with contextlib.suppress(UnpinnedBuildError):
                    newly[name] = _newest(_of(name, asked), name, version, settings)
        if not refused:
            return found
        if not newly:
            raise UnpinnedBuildError(refused)
        bound |= newly  # each round binds another name that is listed


def _of(name: str, asked: Sequence[str]) -> list[str]:
    """Return the requirements of one distribution."""
    return [each for each in asked if canonicalize_name(Requirement(each).name) == name]


def _newest(asked: Sequence[str], name: str, version: str, settings: Settings) -> dict[str, Any]:
    """Return the newest that the places listed for a name have; what others ask of it is known by what was chosen."""
    if asked:
        return _only(asked, name, settings)
    try:
        return _only([f"{name}<={version}"], name, settings)
    except UnpinnedBuildError:
        return _only([name], name, settings)


def _write_bounds(bound: Mapping[str, Mapping[str, Any]], scratch: Path) -> Path:
    constraints = scratch / "bounds.txt"
    text = "".join(f"{name}=={package['version']}\n" for name, package in bound.items())
    constraints.write_text(text, encoding="utf-8")
    return constraints


def _only(requirements: Sequence[str], name: str, settings: Settings) -> dict[str, Any]:
    """Return one distribution as the wheelhouses or the indexes that are listed for it have it."""
    urls = _listed(name, settings)
    try:
        return _lock(requirements, urls, settings)[0]
    except UnpinnedBuildError:
        if urls:
            raise
        problem = f"it is built with {', '.join(requirements)}: no index is listed for {name}, and no wheelhouse has it"
        raise UnpinnedBuildError([problem]) from None


def _line(package: dict[str, Any]) -> str:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    digests = sorted({str(each["hashes"]["sha256"]) for each in files if "sha256" in each.get("hashes", {})})
    what = f"{package['name']}=={package['version']}"
    if not digests:
        raise UnpinnedBuildError([f"the index announces no digest of {what}, with which it is built"])
    return " ".join([what, *(f"--hash=sha256:{digest}" for digest in digests)])


def _lock(
    requirements: Sequence[str],
    urls: list[str],
    settings: Settings,
    *,
    constraints: Path | None = None,
    best_match: bool = False,
) -> list[dict[str, Any]]:
    """Return the packages that requirements resolve to, as they stand in a lock; with constraints, dependencies too.

    Source: PEP 751.
    """
    command = [*uv_command(), "pip", "compile", "-", "--quiet", "--no-config", "--format", "pylock.toml"]
    command += ["--python", sys.executable, "--no-python-downloads"]
    command += ["--index-strategy", "unsafe-best-match" if best_match else "first-index"]
    command += [*_find_links(settings), *_index_options(urls)]
    command += ["--no-deps"] if constraints is None else ["--constraints", str(constraints)]
    if constraints is not None and not all("*" in index.packages for index in settings.indexes):
        command.append("--no-build")  # a stranger's source, built to learn what it requires, would run
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
