"""One entry of the store: a unit of wheels, described from its metadata, imported only when a module is asked for."""

from __future__ import annotations

import configparser
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from app_loader.errors import IntegrityError, LoaderError, SharedLibraryError
from app_loader.isolated import (
    Effect,
    Effects,
    Unit,
    announce_store,
    find_known_unit,
    is_imported,
    read_unit,
    register_unit,
    watched,
)
from app_loader.store.scan import ScanReport
from app_loader.store.shared import SharedLibrary, judge_shared_libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWheel:
    """One wheel of an entry.

    Attributes:
        name: the distribution's name.
        version: its version text.
        sha256: digest (hex) of the wheel file.
        requires: its requirements, as its metadata states them.
        top_levels: the names it makes importable.
        info: its dist-info folder.
    """

    name: str
    version: str
    sha256: str
    requires: tuple[str, ...]
    top_levels: tuple[str, ...]
    info: str


class Entry:
    """A stored unit: the model package and its private companions.

    Attributes:
        folder: the entry's folder in the store.
        distribution: the main distribution's name.
        version: its version text.
        digest: sha256 (hex) of the unit; of the wheel itself where it stands alone.
        wheels: what it was made of, the main wheel first.
        scan: what its code touches outside itself.
        provenance: where its wheels came from.

    Raises:
        IntegrityError: its description is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._document: dict[str, Any] = json.loads((folder / "entry.json").read_text("utf-8"))
            self.digest: str = self._document["digest"]
            self.wheels = tuple(
                StoredWheel(
                    name=each["name"],
                    version=each["version"],
                    sha256=each["sha256"],
                    requires=tuple(each["requires"]),
                    top_levels=tuple(each["top_levels"]),
                    info=each["info"],
                )
                for each in self._document["wheels"]
            )
            if not self.wheels:
                raise ValueError("it names no wheel")
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                str(folder),
                [f"its entry.json is not what was written there: {type(error).__name__}: {error}"],
                f"chmod -R u+w {shlex.quote(str(folder))} && rm -r {shlex.quote(str(folder))}   # then add it again",
            ) from error
        self.distribution = self.wheels[0].name
        self.version = self.wheels[0].version
        self.provenance: Mapping[str, Any] = self._document.get("provenance", {})

    def __repr__(self) -> str:
        return f"Entry({self.distribution} {self.version} sha256:{self.digest[:12]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.folder == other.folder and self.digest == other.digest

    def __hash__(self) -> int:
        return hash((self.folder, self.digest))

    @property
    def identifier(self) -> str:
        """The last component of its isolated package's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The folder of its unpacked modules."""
        return self.folder / "site"

    @property
    def requires(self) -> tuple[str, ...]:
        """The main wheel's requirements."""
        return self.wheels[0].requires

    @property
    def top_levels(self) -> tuple[str, ...]:
        """The names that its main wheel makes importable."""
        return self.wheels[0].top_levels

    @cached_property
    def scan(self) -> ScanReport:
        """What its code touches outside itself."""
        return ScanReport.from_document(self._document["scan"])

    @property
    def unit(self) -> Unit:
        """The unit that its modules belong to; registering it imports nothing.

        Raises:
            IsolationError: another unit of this process has the same name and another digest.
        """
        known = find_known_unit(self.identifier)
        if known is not None and known.digest == self.digest:
            return known
        announce_store(self.folder.parent.parent)
        return register_unit(read_unit(self.folder, self._document))

    def entry_points(self, group: str) -> Mapping[str, str]:
        """Return ``{name: "module:attribute"}`` of one entry-point group of the main wheel, read from its metadata."""
        path = self.path / self.wheels[0].info / "entry_points.txt"
        if not path.is_file():
            return {}
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[method-assign, assignment]  # names keep their case
        parser.read_string(path.read_text("utf-8"))
        return dict(parser[group]) if parser.has_section(group) else {}

    def import_module(self, name: str, *, effects: Effects = "report") -> ModuleType:
        """Import a module of this entry under its isolated name.

        Args:
            name: the module's original name, as in ``model_zoo.layers``.
            effects: what to do about changes of shared state (default dtype, random state, environment, ...) that the
                import makes: ``report`` logs them and keeps them in `effects`, ``restore`` also puts them back.

        Raises:
            NativeCodeError: the module needs compiled files of the entry; nothing of it has run.
            IntegrityError: a source file is not what RECORD pins.
            SharedLibraryError: its code raised, and shared libraries lie outside the ranges it asks for.
            ImportError: as a plain import would raise.
        """
        unit = self.unit
        if is_imported(unit, name):
            return unit.import_module(name)
        subject = f"{self.distribution} {self.version}"
        try:
            with watched(subject, effects) as found:
                module = unit.import_module(name)
        except LoaderError:
            raise
        except Exception as error:
            moved = [str(each) for each in self.shared_libraries() if not each.met]
            if not moved:
                raise
            raise SharedLibraryError(subject, cause=f"{type(error).__name__}: {error}", moved=moved) from error
        unit.effects.extend(found)
        return module

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What importing its modules changed in the state that the process shares."""
        return tuple(self.unit.effects)

    def shared_libraries(self) -> list[SharedLibrary]:
        """Return every requirement on a library outside the unit, beside what is installed; nothing is imported."""
        own = [wheel.name for wheel in self.wheels]
        return judge_shared_libraries([line for wheel in self.wheels for line in wheel.requires], own)

    def verify(self) -> list[str]:
        """Return every difference between the entry's files and what was pinned when they were unpacked."""
        pinned: Mapping[str, str] = self._document["files"]
        problems = []
        for name, expected in pinned.items():
            path = self.path / name
            if not path.is_file():
                problems.append(f"{name} is missing")
                continue
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                problems.append(f"{name} has sha256 {found}, pinned is {expected}")
        # A link is named too: it may lead to a folder, whose files are importable and lie anywhere.
        present = {
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            if path.is_file() or path.is_symlink()
        }
        problems += [f"{name} is a link" for name in pinned if (self.path / name).is_symlink()]
        problems += [f"{name} was not in the wheel" for name in sorted(present - set(pinned))]
        return problems
