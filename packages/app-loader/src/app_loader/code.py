"""Code that can build a policy: a stored wheel under its isolated name, or the installed distribution.

Neither imports anything before `architecture_class` is asked for.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from policy_interface import PolicyArchitecture

from app_loader.errors import UnknownKindError
from app_loader.loaded import Mode
from app_loader.package_digest import package_digest

if TYPE_CHECKING:
    from app_loader.store import Entry

ARCHITECTURES = "policy_interface.architectures"
"""The entry-point group in which a distribution declares its kinds."""


class Code(Protocol):
    """One version of model code.

    Attributes:
        distribution: its name.
        version: its version text.
        wheel_sha256: digest of the wheel it came from, None when there was no wheel.
        unit_sha256: digest of the wheel together with its private companions, None when it has none.
        mode: how it is imported.
        requires: its own requirements, as its metadata states them.
    """

    @property
    def distribution(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version text."""

    @property
    def wheel_sha256(self) -> str | None:
        """Digest of its wheel."""

    @property
    def unit_sha256(self) -> str | None:
        """Digest of its wheel and private companions."""

    @property
    def mode(self) -> Mode:
        """How it is imported."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Its requirements."""

    def kinds(self) -> Mapping[str, str]:
        """Return ``{kind: "module:attribute"}`` as declared, without importing anything."""

    def package_folder(self, package: str) -> Path | None:
        """Return the folder of one of its top-level packages, None when it has no such package; nothing is imported.

        The name may come from an archive, and may be any text.
        """

    def package_sha256(self, package: str) -> str | None:
        """Return the digest of one of its top-level packages, None when it has no such package."""

    def architecture_class(self, kind: str) -> type[PolicyArchitecture]:
        """Import the code and return the class of a kind.

        Raises:
            UnknownKindError: the distribution does not declare the kind.
        """


class StoredCode:
    """A wheel of the store, imported in isolation."""

    mode: Mode = "isolated"

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @property
    def distribution(self) -> str:
        """The name of the entry's own distribution."""
        return self.entry.distribution

    @property
    def version(self) -> str:
        """Its version text."""
        return self.entry.version

    @property
    def wheel_sha256(self) -> str | None:
        """Digest of its wheel."""
        return self.entry.wheels[0].sha256

    @property
    def unit_sha256(self) -> str | None:
        """Digest of the entry's wheels together, None when the wheel stands alone."""
        return self.entry.digest if len(self.entry.wheels) > 1 else None

    @property
    def requires(self) -> tuple[str, ...]:
        """Its requirements."""
        return tuple(self.entry.requires)

    def kinds(self) -> Mapping[str, str]:
        """Return the kinds of the wheel's entry points."""
        return self.entry.entry_points(ARCHITECTURES)

    def package_folder(self, package: str) -> Path | None:
        """Return the folder of an unpacked package of the main wheel."""
        folder = self.entry.path / package if package in self.entry.top_levels else None
        return folder if folder is not None and folder.is_dir() else None

    def package_sha256(self, package: str) -> str | None:
        """Return the digest of an unpacked package of the main wheel."""
        folder = self.package_folder(package)
        return package_digest(folder) if folder is not None else None

    def architecture_class(self, kind: str) -> type[PolicyArchitecture]:
        """Import the isolated module that declares the kind."""
        module, _, attribute = _declared(self, kind).partition(":")
        return cast("type[PolicyArchitecture]", getattr(self.entry.import_module(module), attribute))


class InstalledCode:
    """A distribution of the running environment, imported in the ordinary way."""

    mode: Mode = "environment"
    unit_sha256: str | None = None  # what is installed has no private companions

    def __init__(self, distribution: metadata.Distribution) -> None:
        self._distribution = distribution

    @property
    def distribution(self) -> str:
        """Its name."""
        return str(self._distribution.metadata["Name"])

    @property
    def version(self) -> str:
        """Its version text."""
        return self._distribution.version

    @cached_property
    def wheel_sha256(self) -> str | None:
        """Digest of the wheel, where the installer recorded it. Source: PEP 610."""
        hashes = self._direct_url.get("archive_info", {}).get("hashes", {})
        return cast("str | None", hashes.get("sha256"))

    @property
    def repository(self) -> tuple[str, str] | None:
        """URL and commit where it was installed from a git repository, and the installer recorded it."""
        vcs = self._direct_url.get("vcs_info", {})
        if vcs.get("vcs") != "git" or not vcs.get("commit_id"):
            return None
        return str(self._direct_url["url"]), str(vcs["commit_id"])

    @property
    def is_editable(self) -> bool:
        """Whether it is a working tree that was installed where it lies."""
        return bool(self._direct_url.get("dir_info", {}).get("editable"))

    @cached_property
    def _direct_url(self) -> dict[str, Any]:
        text = self._distribution.read_text("direct_url.json")
        return cast("dict[str, Any]", json.loads(text)) if text else {}

    @property
    def requires(self) -> tuple[str, ...]:
        """Its requirements."""
        return tuple(self._distribution.requires or ())

    def kinds(self) -> Mapping[str, str]:
        """Return the kinds of the distribution's entry points."""
        return {point.name: point.value for point in self._distribution.entry_points.select(group=ARCHITECTURES)}

    def package_folder(self, package: str) -> Path | None:
        """Return the folder of one of the distribution's own packages; nothing is imported.

        The name may come from an archive: finding a dotted one would import its parent, and a package of somebody
        else's says nothing about this code.
        """
        if package not in self._top_levels():
            return None
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)))

    def package_sha256(self, package: str) -> str | None:
        """Return the digest of one of the distribution's own packages; nothing is imported."""
        folder = self.package_folder(package)
        return package_digest(folder) if folder is not None else None

    def _top_levels(self) -> set[str]:
        """Return the names it makes importable: by its files, and by its kinds, as an editable install lists none."""
        listed = {file.parts[0].partition(".")[0] for file in self._distribution.files or () if file.suffix == ".py"}
        return listed | {re.split("[.:]", value, maxsplit=1)[0] for value in self.kinds().values()}

    def architecture_class(self, kind: str) -> type[PolicyArchitecture]:
        """Import the module that declares the kind."""
        module, _, attribute = _declared(self, kind).partition(":")
        return cast("type[PolicyArchitecture]", getattr(importlib.import_module(module), attribute))


def find_installed(distribution: str) -> InstalledCode | None:
    """Return the installed distribution of that name, or None."""
    try:
        return InstalledCode(metadata.distribution(distribution))
    except metadata.PackageNotFoundError:
        return None


def installed_with_kind(kind: str) -> Iterable[InstalledCode]:
    """Return the installed distributions that declare a kind, by name."""
    owners = {p.dist.name: p.dist for p in metadata.entry_points(group=ARCHITECTURES, name=kind) if p.dist}
    return [InstalledCode(owners[name]) for name in sorted(owners)]


def _declared(code: Code, kind: str) -> str:
    kinds = code.kinds()
    if kind not in kinds:
        raise UnknownKindError(
            kind=kind, distribution=code.distribution, version=code.version, declared=tuple(sorted(kinds))
        )
    return kinds[kind]
