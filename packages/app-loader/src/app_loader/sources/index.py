"""Fetching pure wheels from configured indexes: uv resolves, the digest that it locked is checked on the bytes.

An index gives only the distributions that it is listed for: a name on a public index may belong to a stranger. For each
requirement only the indexes listed for its name are asked, in the order in which they are listed, and the first that
knows the name decides; a higher version on a later one is not looked at.
Source: PEP 751 (pylock.toml), which names each file with its URL, index and digests.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app_loader.child_process import run, uv_environment
from app_loader.credentials import hide_credentials, strip_credentials
from app_loader.errors import SourceRefusedError
from app_loader.settings import Settings
from app_loader.sources.download import copy_wheel, download_wheel
from app_loader.uv_command import uv_command

_TIMEOUT_S = 120.0
_HELP = "mpt zoo add WHEEL   # or list an index in mpt.toml, see docs/trust.md"


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
    found: dict[str, Path] = {}
    for text in requirements:
        _check_allowed(text, Requirement(text).name, settings)
        packages = _lock(text, settings, with_dependencies=with_dependencies)
        for package in packages:
            name, version = str(package["name"]), str(package.get("version"))
            if not any(index.gives(name) for index in settings.indexes):
                raise SourceRefusedError(text, [f"it requires {name}, for which no index is listed"], _HELP)
            if with_dependencies:  # resolved over all indexes; taken from those listed for it
                package = _lock(f"{name}=={version}", settings, with_dependencies=False)[0]
            wheel = _pure_wheel(package)
            if wheel is not None:
                found[wheel["name"]] = _take(wheel, name, settings, folder)
            elif not with_dependencies or name == canonicalize_name(Requirement(text).name):
                raise SourceRefusedError(text, [f"{name} {version} has no pure wheel"], _HELP)
    return list(found.values())


def _check_allowed(text: str, name: str, settings: Settings) -> None:
    problems = []
    if not settings.fetch and not all(_is_local(index.url) for index in settings.indexes):
        problems.append("fetching is off; it is allowed by fetch = true in mpt.toml")
    if not any(index.gives(name) for index in settings.indexes):
        problems.append(f"no index is listed for {name}: a name and a version alone do not say whose code it is")
    if problems:
        raise SourceRefusedError(text, problems, _HELP)


def _lock(text: str, settings: Settings, *, with_dependencies: bool) -> list[dict[str, Any]]:
    """Return the packages that a requirement resolves to, from the indexes listed for its name."""
    name = Requirement(text).name
    listed = [index.url for index in settings.indexes if index.gives(name)]
    others = [index.url for index in settings.indexes if not index.gives(name)] if with_dependencies else []
    urls = list(dict.fromkeys([*listed, *others]))
    command = [*uv_command(), "pip", "compile", "-", "--quiet", "--no-config", "--format", "pylock.toml"]
    command += ["--python", sys.executable, "--index-strategy", "first-index", "--no-python-downloads"]
    flat = [url for url in urls if _is_local(url) and any(local_path(url).glob("*.whl"))]
    simple = [local_path(url).absolute().as_uri() if _is_local(url) else url for url in urls if url not in flat]
    for url in flat:
        command += ["--find-links", url]
    # uv asks what stands behind --index before what stands behind --default-index
    for place, url in enumerate(simple):
        command += ["--default-index" if place == len(simple) - 1 else "--index", url]
    if not simple:  # else the public index would be asked for every name
        command.append("--no-index")
    if not settings.fetch:
        command.append("--offline")
    if not with_dependencies:
        command.append("--no-deps")
    try:
        done = run(command, Path.cwd(), environment=uv_environment(), timeout_s=_TIMEOUT_S, given=text.encode())
    except subprocess.TimeoutExpired:
        raise SourceRefusedError(text, [f"the indexes did not answer within {_TIMEOUT_S:g} seconds"], _HELP) from None
    except OSError as error:
        raise SourceRefusedError(text, [f"uv: {error}"], "pip install uv") from error
    if done.returncode:
        said = hide_credentials(done.stderr.decode(errors="replace")).strip().splitlines()
        raise SourceRefusedError(text, said[-8:], "mpt zoo add WHEEL")
    packages: list[dict[str, Any]] = tomllib.loads(done.stdout.decode()).get("packages", [])
    return packages


def _pure_wheel(package: dict[str, Any]) -> dict[str, Any] | None:
    for wheel in package.get("wheels", []):
        name = str(
            wheel.get("name") or unquote(urlsplit(str(wheel.get("url") or wheel.get("path"))).path).rpartition("/")[2]
        )
        if name.endswith("-none-any.whl"):
            return {**wheel, "name": Path(name).name}
    return None


def _take(wheel: dict[str, Any], name: str, settings: Settings, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(wheel["name"])
    source = str(wheel.get("url") or wheel.get("path"))
    announced = wheel.get("hashes", {}).get("sha256")
    if _is_local(source):
        return copy_wheel(local_path(source), target, announced)
    if not settings.fetch:  # a page in a local folder may point anywhere
        problem = f"it lies at {strip_credentials(source)}, and fetching is off"
        raise SourceRefusedError(str(wheel["name"]), [problem], _HELP)
    listed = [index.url for index in settings.indexes if index.gives(name)]
    return download_wheel(source, target, announced, indexes=listed)


def _is_local(url: str) -> bool:
    return url.startswith("file://") or "://" not in url


def local_path(url: str) -> Path:
    """Return the folder or file of a ``file://`` URL or a plain path."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)
