"""Fetching pure wheels from configured indexes: uv resolves, the digest that it locked is checked on the bytes.

An index gives only the distributions that it is listed for: a name on a public index may belong to a stranger.
Source: PEP 751 (pylock.toml), which names each file with its URL and digests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement

from app_loader.errors import IntegrityError, SourceRefusedError
from app_loader.settings import Settings
from app_loader.uv_command import uv_command

_TIMEOUT_S = 120
_CHUNK_BYTES = 1024**2


def fetch_wheels(
    requirements: Sequence[str], settings: Settings, folder: Path, *, with_dependencies: bool = False
) -> list[Path]:
    """Fetch the wheels that requirements resolve to.

    Args:
        requirements: as in ``x-transformers==1.42.0``.
        settings: which indexes may give which names, and whether anything may be fetched.
        folder: where to put them.
        with_dependencies: fetch what they require too; wheels with native code are left out, since they are shared.

    Raises:
        SourceRefusedError: the settings forbid it, or nothing was found.
        IntegrityError: the bytes are not those that the index announced.
    """
    subject = " ".join(requirements)
    help_ = "mpt zoo add WHEEL   # or list an index in mpt.toml, see docs/isolation.md"
    problems = []
    if not settings.fetch and not all(_is_local(index.url) for index in settings.indexes):
        problems.append("fetching is off; it is allowed by fetch = true in mpt.toml")
    for text in requirements:
        name = Requirement(text).name
        if not any(index.gives(name) for index in settings.indexes):
            problems.append(f"no index is listed for {name}: a name and a version alone do not say whose code it is")
    if problems:
        raise SourceRefusedError(subject, problems, help_)
    found = []
    for package in _lock(requirements, settings, subject, with_dependencies=with_dependencies):
        name = str(package["name"])
        index = next((index for index in settings.indexes if index.gives(name)), None)
        if index is None:
            raise SourceRefusedError(subject, [f"it requires {name}, for which no index is listed"], help_)
        wheel = _pure_wheel(package)
        if wheel is None:
            if any(name == Requirement(text).name for text in requirements) or not with_dependencies:
                raise SourceRefusedError(subject, [f"{name} {package.get('version')} has no pure wheel"], help_)
            continue
        found.append(_download(wheel, folder))
    return found


def _lock(
    requirements: Sequence[str], settings: Settings, subject: str, *, with_dependencies: bool
) -> list[dict[str, Any]]:
    urls = [index.url for index in settings.indexes]
    command = [*uv_command(), "pip", "compile", "-", "--quiet", "--no-config", "--format", "pylock.toml"]
    command += ["--python", sys.executable, "--index-strategy", "unsafe-best-match"]
    flat = [url for url in urls if _is_local(url) and any(_folder(url).glob("*.whl"))]
    simple = [_folder(url).absolute().as_uri() if _is_local(url) else url for url in urls if url not in flat]
    for url in flat:
        command += ["--find-links", url]
    for place, url in enumerate(simple):
        command += ["--default-index" if place == 0 else "--index", url]
    if not simple:  # else the public index would be asked for every name
        command.append("--no-index")
    if not with_dependencies:
        command.append("--no-deps")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_INDEX", "UV_FIND_LINKS"))
    }
    try:
        done = subprocess.run(
            command,
            input="\n".join(requirements),
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceRefusedError(subject, [f"uv: {error}"], "pip install uv") from error
    if done.returncode:
        raise SourceRefusedError(subject, done.stderr.strip().splitlines()[-8:], "mpt zoo add WHEEL")
    packages: list[dict[str, Any]] = tomllib.loads(done.stdout).get("packages", [])
    return packages


def _pure_wheel(package: dict[str, Any]) -> dict[str, Any] | None:
    for wheel in package.get("wheels", []):
        name = str(
            wheel.get("name") or unquote(urlsplit(str(wheel.get("url") or wheel.get("path"))).path).rpartition("/")[2]
        )
        if name.endswith("-none-any.whl"):
            return {**wheel, "name": name}
    return None


def _download(wheel: dict[str, Any], folder: Path) -> Path:
    target = folder / str(wheel["name"])
    folder.mkdir(parents=True, exist_ok=True)
    source = str(wheel.get("url") or wheel.get("path"))
    try:
        if "://" in source and not source.startswith("file://"):
            with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file, _CHUNK_BYTES)
        else:
            shutil.copyfile(_folder(source), target)
    except (OSError, urllib.error.URLError) as error:
        raise SourceRefusedError(source, [str(error)], "mpt zoo add WHEEL") from error
    expected = wheel.get("hashes", {}).get("sha256")
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if expected is not None and found != expected:
        target.unlink()
        raise IntegrityError(source, [f"it has sha256 {found}, the index announced {expected}"], "mpt zoo add WHEEL")
    return target


def _is_local(url: str) -> bool:
    return url.startswith("file://") or "://" not in url


def _folder(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)
