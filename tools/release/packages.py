"""The packages of the repository: where they stand and which version their pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from tools.release.errors import ReleaseError, UnknownPackageError

ROOT = Path(__file__).resolve().parents[2]

_VERSION_LINE = re.compile(r'^version = "([^"]*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of the repository.

    Attributes:
        name: the distribution's name, as in ``model-zoo``.
        root: the root of the checkout that it stands in.
    """

    name: str
    root: Path

    @property
    def module(self) -> str:
        """The import name."""
        return self.name.replace("-", "_")

    @property
    def folder(self) -> Path:
        """The folder with pyproject.toml."""
        return self.root / "packages" / self.name

    @property
    def version(self) -> Version:
        """The version that pyproject.toml says."""
        table = tomllib.loads((self.folder / "pyproject.toml").read_text())
        return Version(table["project"]["version"])

    def write_version(self, version: Version) -> None:
        """Write the version into pyproject.toml; nothing else in it changes."""
        path = self.folder / "pyproject.toml"
        text, count = _VERSION_LINE.subn(f'version = "{version}"', path.read_text())
        if count != 1:
            raise ReleaseError(f'{path} has {count} lines `version = "..."`, expected one')
        path.write_text(text)

    def tag(self, version: Version) -> str:
        """Return the git tag of a release, as in ``model-zoo-v0.4.0``."""
        return f"{self.name}-v{version}"


def get_package(name: str, root: Path = ROOT) -> Package:
    """Return the package of that name.

    Raises:
        UnknownPackageError: there is none.
    """
    known = sorted(path.parent.name for path in root.glob("packages/*/pyproject.toml"))
    if name not in known:
        raise UnknownPackageError(name, known)
    return Package(name=name, root=root)


def parse_version(text: str) -> Version:
    """Return the version.

    Raises:
        ReleaseError: not a version as PEP 440 writes it, or not in its normal form.
    """
    try:
        version = Version(text)
    except InvalidVersion:
        raise ReleaseError(f"{text!r} is not a version, expected one like 1.2.0 or 1.2.0rc1") from None
    if str(version) != text:
        raise ReleaseError(f"{text!r} is not in normal form, expected {version}")
    return version
