"""Reading the settings: the nearest `mpt.toml`, or `pyproject.toml` with a table ``[tool.mpt]``, upwards from a folder.

Unknown keys are refused, all problems at once: a misspelt safety setting must not be a setting that is not there.
So is a file that another user put above the folder of work, such as one in a folder where everybody may write.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from app_loader.credentials import hide_credentials, strip_credentials
from app_loader.errors import ForeignSettingsError, SettingsError

SETTINGS_VARIABLE = "MPT_SETTINGS"
_MAX_DIFF_BYTES = 5 * 1024**2
_KEYS = ("fetch", "wheelhouses", "repositories", "moved", "indexes", "max_diff_bytes", "secrets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One package index.

    Attributes:
        url: of its simple API, or a folder.
        packages: the distributions it may give, as names or patterns; a name that no index is listed for is refused.
    """

    url: str
    packages: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Index(url={strip_credentials(self.url)!r}, packages={self.packages!r})"

    def gives(self, distribution: str) -> bool:
        """Whether the index is listed for a distribution."""
        name = canonicalize_name(distribution)
        return any(fnmatch.fnmatchcase(name, canonicalize_name(pattern)) for pattern in self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be taken from where.

    Attributes:
        path: the file that says so, None for the defaults.
        fetch: whether anything may be fetched over the network.
        wheelhouses: folders of wheels that are searched.
        repositories: repositories that may be built from: folders, or URL prefixes.
        moved: where a repository is now, by the folder or URL (or the beginning of one) that archives name.
        indexes: package indexes, each with the distributions it may give.
        max_diff_bytes: the largest difference of a dirty tree that is recorded.
        secrets: what to do about text in a difference that looks like a secret.
    """

    path: Path | None = None
    fetch: bool = False
    wheelhouses: tuple[Path, ...] = ()
    repositories: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    indexes: tuple[Index, ...] = ()
    max_diff_bytes: int = _MAX_DIFF_BYTES
    secrets: Literal["refuse", "record"] = "refuse"

    def allows_repository(self, repository: str) -> bool:
        """Whether a repository, by folder or URL, may be built from; one that `moved` leads to may."""
        return any(_below(repository, allowed) for allowed in (*self.repositories, *(new for _, new in self.moved)))

    def find_moved(self, repository: str) -> str:
        """Return where a repository that an archive names is now; as it is named where nothing else is said."""
        fitting = [(old, new) for old, new in self.moved if _below(repository, old)]
        if not fitting:
            return repository
        old, new = max(fitting, key=lambda pair: len(pair[0]))  # the most precise
        return new.rstrip("/") + repository[len(old.rstrip("/")) :]


def read_settings(folder: Path | None = None) -> Settings:
    """Return the settings that hold in a folder: ``$MPT_SETTINGS``, or the nearest file upwards, or the defaults.

    Raises:
        SettingsError: the file breaks its grammar, belongs to another user, or ``$MPT_SETTINGS`` names no file.
    """
    given = os.environ.get(SETTINGS_VARIABLE)
    if given:
        if not Path(given).is_file():
            raise SettingsError(given, [f"${SETTINGS_VARIABLE} names a file that does not exist"])
        return _read(Path(given)) or Settings()
    start = (folder or Path.cwd()).resolve()
    for each in (start, *start.parents):
        for name in ("mpt.toml", "pyproject.toml"):
            found = _read(each / name) if (each / name).is_file() else None
            if found is not None:
                _check_owner(each / name, start)
                return found
    return Settings()


def _check_owner(path: Path, start: Path) -> None:
    """Check that who wrote a file may decide: the user, the system's, or whose folder the user works in.

    Raises:
        ForeignSettingsError: it belongs to somebody else.
    """
    if not hasattr(os, "geteuid"):
        return
    strangers = _owners(path) - _owners(start) - {0, os.geteuid()}
    if strangers:
        problem = (
            f"it belongs to user {min(strangers)}, and neither to you nor to whose folder {start} is; if it is to say "
            f"whom you trust: export {SETTINGS_VARIABLE}={shlex.quote(str(path))}"
        )
        raise ForeignSettingsError(str(path), [problem])


def _owners(path: Path) -> set[int]:
    """Return whom a file belongs to, and a link to it: its folder is what folders in it are relative to."""
    return {path.lstat().st_uid, path.stat().st_uid}


def _read(path: Path) -> Settings | None:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if path.name == "pyproject.toml":
            return None  # another tool's file, and not ours to judge
        raise SettingsError(str(path), [str(error)]) from error
    if path.name == "pyproject.toml":
        tools = document.get("tool")
        table = tools.get("mpt") if isinstance(tools, dict) else None
        if table is None:
            return None
        if not isinstance(table, dict):
            raise SettingsError(str(path), [f"tool.mpt: {table!r} is not a table"])
        document = table
    return parse_settings(document, path)


def parse_settings(document: Mapping[str, Any], path: Path) -> Settings:
    """Return the settings of a table; relative folders are below its file.

    Raises:
        SettingsError: it breaks the grammar; every problem is listed.
    """
    problems = [f"{key}: unknown; known are {', '.join(_KEYS)}" for key in document if key not in _KEYS]
    base = path.parent
    fetch = document.get("fetch", False)
    if not isinstance(fetch, bool):
        problems.append(f"fetch: {fetch!r} is neither true nor false")
    size = document.get("max_diff_bytes", _MAX_DIFF_BYTES)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        problems.append(f"max_diff_bytes: {size!r} is not a number of bytes")
    secrets = document.get("secrets", "refuse")
    if secrets not in ("refuse", "record"):
        problems.append(f"secrets: {secrets!r} is neither 'refuse' nor 'record'")
    wheelhouses = _texts(document, "wheelhouses", problems)
    repositories = _texts(document, "repositories", problems)
    moved = document.get("moved", {})
    if not isinstance(moved, dict) or not all(isinstance(new, str) for new in moved.values()):
        problems.append(f"moved: {moved!r} is not a table of texts: where each repository is now")
        moved = {}
    indexes = _indexes(document.get("indexes", []), base, problems)
    if problems:
        raise SettingsError(str(path), [hide_credentials(problem) for problem in problems])
    return Settings(
        path=path,
        fetch=fetch,
        wheelhouses=tuple((base / text).resolve() for text in wheelhouses),
        repositories=tuple(_absolute(text, base) for text in repositories),
        moved=tuple((old, _absolute(new, base)) for old, new in moved.items()),
        indexes=indexes,
        max_diff_bytes=size,
        secrets=secrets,
    )


def _texts(document: Mapping[str, Any], key: str, problems: list[str]) -> list[str]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        problems.append(f"{key}: {value!r} is not a list of texts")
        return []
    return value


def _indexes(value: Any, base: Path, problems: list[str]) -> tuple[Index, ...]:
    if not isinstance(value, list):
        problems.append(f"indexes: {value!r} is not a list of tables")
        return ()
    found = []
    for place, each in enumerate(value):
        where = f"indexes[{place}]"
        if not isinstance(each, dict) or set(each) - {"url", "packages"} or not isinstance(each.get("url"), str):
            problems.append(f"{where}: a table with 'url' and 'packages' is expected")
            continue
        packages = each.get("packages", [])
        if not isinstance(packages, list) or not packages or not all(isinstance(name, str) for name in packages):
            problems.append(f"{where}.packages: the distributions that it may give, as a list of names or patterns")
            continue
        found.append(Index(url=_absolute(each["url"], base), packages=tuple(packages)))
    return tuple(found)


def _absolute(repository: str, base: Path) -> str:
    """Return a folder below the settings file as an absolute one, and a URL as it is."""
    return repository if _is_url(repository) else str((base / repository).resolve())


def _is_url(repository: str) -> bool:
    start = repository.partition("/")[0]
    return "://" in repository or "@" in start or "::" in start


def _below(repository: str, allowed: str) -> bool:
    if _is_url(allowed):
        # Nothing below it leads up again: a server would take example.org/team/../other for another team's.
        rest = repository.removeprefix(allowed.rstrip("/"))
        return rest != repository and rest[:1] in ("", "/") and not _climbs(rest)
    if _is_url(repository) or ":" in repository.partition("/")[0]:  # host:path is a URL to git
        return False
    return Path(repository).resolve().is_relative_to(allowed)


def _climbs(path: str) -> bool:
    return ".." in PurePosixPath(unquote(path).replace("\\", "/")).parts
