"""The store: a folder of entries, each unpacked once, verified, and read-only from then on.

Layout: ``entries/<identifier>/entry.json`` and ``site/``; ``bytecode/<identifier>/``; ``locks/``; ``unpacking/`` for
what is not complete. An entry appears by one rename, so that a reader sees all of it or none. Nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app_loader.errors import IntegrityError, IsolationError
from app_loader.isolated import OwnedNames, announce_store, make_identifier, owned_names
from app_loader.store.entry import Entry
from app_loader.store.scan import scan_files
from app_loader.store.unpack import lock_folders, unlock_folders, unpack_wheels
from app_loader.store.wheel import Wheel, read_wheel

STORE_VARIABLE = "MPT_STORE"
_FORMAT = 1
_POLL_INTERVAL_S = 0.002
"""How often a process looks whether another one has finished the same entry; unpacking a zoo takes about 10 ms."""


def default_store_path() -> Path:
    """Return ``$MPT_STORE``, or the ``mpt/store`` folder below the user's data directory."""
    given = os.environ.get(STORE_VARIABLE)
    if given:
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_data_dir("mpt")) / "store"


class Store:
    """A folder of unpacked, verified wheels.

    Args:
        path: the folder; `default_store_path` when not given. It is made at the first `add`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = (Path(path) if path is not None else default_store_path()).expanduser().absolute()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def add(self, wheels: Sequence[str | os.PathLike[str]], *, provenance: Mapping[str, Any] | None = None) -> Entry:
        """Add a unit of wheels; the same wheels give the entry that is there already.

        Args:
            wheels: the wheel of the model package, then its private companions.
            provenance: where they came from, kept with the entry.

        Raises:
            UnsafeWheelError: a wheel holds something that no wheel of pure modules holds; nothing was stored.
            IntegrityError: a file is not what its RECORD pins; nothing was stored.
        """
        read = [read_wheel(Path(wheel)) for wheel in wheels]
        if not read:
            raise ValueError("a unit has at least one wheel")
        main, companions = read[0], sorted(read[1:], key=lambda wheel: (wheel.name.lower(), wheel.sha256))
        ordered = [main, *companions]
        digest = unit_digest(ordered)
        identifier = make_identifier(main.name, main.version, digest)
        folder = self.path / "entries" / identifier
        if not (folder / "entry.json").is_file():
            self._add(ordered, digest, identifier, folder, provenance or {})
        entry = Entry(folder)
        if entry.digest != digest:
            raise IsolationError(
                f"{main.name} {main.version}",
                f"its name {identifier} is taken by digest {entry.digest}, and its own is {digest}",
                f"mpt zoo remove {main.name}=={main.version}",
            )
        announce_store(self.path)
        return entry

    def _add(
        self, wheels: list[Wheel], digest: str, identifier: str, folder: Path, provenance: Mapping[str, Any]
    ) -> None:
        from filelock import FileLock

        (self.path / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "locks" / f"{identifier}.lock").acquire(poll_interval=_POLL_INTERVAL_S):
            if (folder / "entry.json").is_file():
                return  # another process was faster
            scratch = self.path / "unpacking" / f"{identifier}.{uuid.uuid4().hex}"
            site = scratch / "site"
            site.mkdir(parents=True)
            try:
                files = unpack_wheels(wheels, site)
                document = _describe(wheels, digest, site, files, provenance)
                with (scratch / "entry.json").open("w", encoding="utf-8") as file:
                    json.dump(document, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                folder.parent.mkdir(parents=True, exist_ok=True)
                scratch.replace(folder)
                lock_folders(folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise

    def entries(self) -> list[Entry]:
        """Return every entry, by distribution and version text."""
        folder = self.path / "entries"
        if not folder.is_dir():
            return []
        found = [Entry(each) for each in folder.iterdir() if (each / "entry.json").is_file()]
        return sorted(found, key=lambda entry: (entry.distribution.lower(), _order(entry.version), entry.digest))

    def find(self, distribution: str, version: str | None = None, digest: str | None = None) -> Entry | None:
        """Return an entry, or None.

        Args:
            distribution: the main distribution's name, in any spelling.
            version: its version; the newest stored one when not given.
            digest: the first digits (hex) of the unit's or of the main wheel's sha256.

        Raises:
            IsolationError: the version is stored with several digests and none was given.
        """
        from packaging.utils import canonicalize_name

        name = canonicalize_name(distribution)
        found = [entry for entry in self.entries() if canonicalize_name(entry.distribution) == name]
        if digest is not None:
            found = [e for e in found if e.digest.startswith(digest) or e.wheels[0].sha256.startswith(digest)]
        if version is not None:
            found = [entry for entry in found if _order(entry.version) == _order(version)]
        if not found:
            return None
        newest = found[-1]
        same = [entry for entry in found if entry.version == newest.version]
        if len(same) > 1:
            digests = ", ".join(entry.digest[:12] for entry in same)
            raise IsolationError(
                f"{distribution} {newest.version}",
                f"the store has it with several digests: {digests}; a version alone does not say which",
                f"mpt zoo show {distribution}=={newest.version}",
            )
        return newest

    def check(self, entry: Entry) -> None:
        """Check every file of an entry against what was pinned.

        Raises:
            IntegrityError: a file differs, is missing or is new.
        """
        problems = entry.verify()
        if problems:
            raise IntegrityError(
                f"{entry.distribution} {entry.version}",
                problems,
                f"mpt zoo remove {entry.distribution}=={entry.version} and add it again",
            )

    def remove(self, entry: Entry) -> None:
        """Remove an entry and its bytecode. Processes that imported it keep what they have."""
        from filelock import FileLock

        (self.path / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "locks" / f"{entry.identifier}.lock"):
            doomed = self.path / "unpacking" / f"{entry.identifier}.{uuid.uuid4().hex}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            unlock_folders(entry.folder)
            entry.folder.replace(doomed)
            shutil.rmtree(doomed)
            shutil.rmtree(self.path / "bytecode" / entry.identifier, ignore_errors=True)


def unit_digest(wheels: Sequence[Wheel]) -> str:
    """Return the digest of a unit: of the wheel where it stands alone, else over its wheels' names and digests."""
    if len(wheels) == 1:
        return wheels[0].sha256
    lines = [f"{wheel.name} {wheel.version} {wheel.sha256}\n" for wheel in wheels]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _describe(
    wheels: list[Wheel], digest: str, site: Path, files: dict[str, str], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    owned = [owned_names(wheel.members.values()) for wheel in wheels]
    roots = frozenset().union(*(names.roots for names in owned))
    return {
        "format": _FORMAT,
        "digest": digest,
        "wheels": [
            {
                "name": wheel.name,
                "version": wheel.version,
                "sha256": wheel.sha256,
                "requires": list(wheel.requires),
                "requires_python": wheel.requires_python,
                "info": wheel.info,
                "top_levels": sorted(names.roots),
                "owned": _owned_document(names),
            }
            for wheel, names in zip(wheels, owned, strict=True)
        ],
        "files": files,
        "scan": scan_files(site, files, roots).to_document(),
        "provenance": dict(provenance),
    }


def _owned_document(names: OwnedNames) -> dict[str, list[str]]:
    return {"whole": sorted(names.whole), "partly": sorted(names.partly)}


def _order(version: str) -> Any:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
