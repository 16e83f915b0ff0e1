"""The store: a folder of entries, each unpacked once, verified, and read-only from then on.

Layout: ``entries/<identifier>/entry.json`` and ``site/``; ``bytecode/<identifier>/``; ``accepted/``; ``locks/``;
``unpacking/`` for what is not complete. An entry is on the disk before it appears, by one rename: a reader sees all of
it or none, also after a kill or a power failure. Nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app_loader.errors import IntegrityError, IsolationError
from app_loader.isolated import DIGEST_DIGITS, OwnedNames, announce_store, make_identifier, owned_names
from app_loader.store.accepted import Acceptance, find_acceptance, forget_acceptances, write_acceptance
from app_loader.store.entry import Entry
from app_loader.store.locking import held_or_awaited
from app_loader.store.scan import scan_files
from app_loader.store.unpack import lock_folders, sync, sync_below, unlock_folders, unpack_wheels
from app_loader.store.wheel import Wheel, read_wheel, wheel_sha256

STORE_VARIABLE = "MPT_STORE"
_FORMAT = 1


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

    def add(
        self,
        wheels: Sequence[str | os.PathLike[str]],
        *,
        provenance: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        unit_sha256: str | None = None,
    ) -> Entry:
        """Add a unit of wheels; the same wheels give the entry that is there already.

        What is unpacked is a copy of what was hashed: a file that changes meanwhile changes nothing here.

        Args:
            wheels: the wheel of the model package, then its private companions.
            provenance: where they came from, kept with the entry.
            sha256: the digest (hex) that the main wheel must have, or its first digits, at least 8.
            unit_sha256: the digest (hex) that the wheels together must have.

        Raises:
            UnsafeWheelError: a wheel holds something that no wheel of pure modules holds; nothing was stored.
            IntegrityError: a wheel is not the one asked for, or a file is not what its RECORD pins; nothing was stored.
        """
        paths = [Path(wheel) for wheel in wheels]
        if not paths:
            raise ValueError("a unit has at least one wheel")
        if len(paths) == 1:  # its digest is the file's: whoever finds the entry need not look into the wheel
            digest = main = wheel_sha256(paths[0])
        else:
            read = [read_wheel(path) for path in paths]
            digest, main = unit_digest(_ordered(read)), read[0].sha256
        check_pinned(paths[0], main, sha256)
        if unit_sha256 is not None and digest != unit_sha256:
            raise IntegrityError(
                " + ".join(path.name for path in paths),
                [f"together they have sha256 {digest}, pinned is {unit_sha256}: a companion is another one"],
                "mpt zoo add WHEEL --with COMPANION_WHEEL   # the wheels that it was trained with",
            )
        entry = self._find_digest(digest)
        if entry is None:
            entry = self._fill(digest, lambda: self._add(paths, digest, provenance or {}))
        announce_store(self.path)
        return entry

    def _fill(self, digest: str, add: Callable[[], Entry]) -> Entry:
        """Add an entry while holding its lock, or return it as soon as another process has added it.

        When the lock is let go, the entry is there for all who waited. Whoever is killed while adding lets go of it
        too; then one of the others adds.
        """
        path = self._lock_path(digest)
        while True:
            with held_or_awaited(path) as held:
                entry = add() if held else self._find_digest(digest)
            if entry is not None:
                return entry

    def _lock_path(self, digest: str) -> Path:
        """Return the file whose lock is held by whoever changes the entry of one unit."""
        folder = self.path / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{digest[:16]}.lock"

    def _find_digest(self, digest: str) -> Entry | None:
        """Return the complete entry of one unit by its whole digest, or None; other entries are not read."""
        entries = self.path / "entries"
        for folder in entries.iterdir() if entries.is_dir() else ():
            if folder.name.endswith(f"__{digest[:DIGEST_DIGITS]}"):
                entry = _read_entry(folder)
                if entry is not None and entry.digest == digest:
                    return entry
        return None

    def _add(self, paths: list[Path], digest: str, provenance: Mapping[str, Any]) -> Entry:
        entry = self._find_digest(digest)
        if entry is not None:  # another process was faster
            return entry
        scratch = self.path / "unpacking" / f"{digest[:16]}.{uuid.uuid4().hex}"
        try:
            wheels = _ordered([_copied(path, scratch / str(place)) for place, path in enumerate(paths)])
            if unit_digest(wheels) != digest:
                again = f"mpt zoo add {shlex.quote(str(paths[0]))}   # once more"
                raise IntegrityError(str(paths[0]), ["it was changed while it was added"], again)
            main = wheels[0]
            identifier = make_identifier(main.name, main.version, digest)
            folder = self.path / "entries" / identifier
            if not (folder / "entry.json").is_file():
                self._unpack(wheels, digest, folder, provenance)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        entry = Entry(folder)
        if entry.digest != digest:
            raise IsolationError(
                f"{main.name} {main.version}",
                f"its name {identifier} is taken by digest {entry.digest}, and its own is {digest}",
                f"mpt zoo remove {main.name}=={main.version}",
            )
        return entry

    def _unpack(self, wheels: list[Wheel], digest: str, folder: Path, provenance: Mapping[str, Any]) -> None:
        scratch = self.path / "unpacking" / f"{folder.name}.{uuid.uuid4().hex}"
        site = scratch / "site"
        site.mkdir(parents=True)
        try:
            files = unpack_wheels(wheels, site)
            document = _describe(wheels, digest, site, files, provenance)
            with (scratch / "entry.json").open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
            sync_below(scratch)
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                scratch.replace(folder)
            except OSError:
                # app-loader 1.0 holds a lock of another name: whichever of the two was faster, the entry is the same.
                if not (folder / "entry.json").is_file():
                    raise
            else:
                sync(folder.parent)
                lock_folders(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Return every entry, by distribution and version."""
        folder = self.path / "entries"
        if not folder.is_dir():
            return []
        found = filter(None, map(_read_entry, folder.iterdir()))
        return sorted(found, key=lambda entry: (_spelled(entry.distribution), _order(entry.version), entry.digest))

    def find(self, distribution: str, version: str | None = None, digest: str | None = None) -> Entry | None:
        """Return an entry, or None.

        Args:
            distribution: the main distribution's name, in any spelling.
            version: its version; the newest stored one when not given.
            digest: the first digits (hex) of the unit's or of the main wheel's sha256.

        Raises:
            IsolationError: the version is stored with several digests and none was given.
        """
        name = _spelled(distribution)
        found = [entry for entry in self.entries() if _spelled(entry.distribution) == name]
        if digest is not None:
            found = [e for e in found if e.digest.startswith(digest) or e.wheels[0].sha256.startswith(digest)]
        if version is not None:
            found = [entry for entry in found if _order(entry.version) == _order(version)]
        if not found:
            return None
        newest = found[-1]
        same = [entry for entry in found if _order(entry.version) == _order(newest.version)]
        if len(same) > 1:
            digests = ", ".join(entry.digest[:12] for entry in same)
            raise IsolationError(
                f"{distribution} {newest.version}",
                f"the store has it with several digests: {digests}; a version alone does not say which",
                f"mpt zoo show {distribution}=={newest.version}",
            )
        return newest

    def accept(self, entry: Entry, pinned: str, *, because: str, exact: bool) -> None:
        """Let an entry stand for code that archives pin by another digest.

        Args:
            entry: of this store.
            pinned: sha256 (hex) of the wheel, or of the package's files, that archives pin.
            because: why, in words.
            exact: whether it was built from the very files that were pinned.
        """
        write_acceptance(self.path, Acceptance(pinned=pinned, digest=entry.digest, because=because, exact=exact))

    def find_acceptance(self, entry: Entry, pinned: str | None) -> Acceptance | None:
        """Return why an entry stands for a pinned digest, or None."""
        return find_acceptance(self.path, pinned, entry.digest)

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
                f"mpt zoo remove {entry.distribution}=={entry.version}   # and add its wheel again",
            )

    def remove(self, entry: Entry) -> None:
        """Remove an entry and its bytecode. Processes that imported it keep what they have."""
        held = False
        while not held:
            with held_or_awaited(self._lock_path(entry.digest)) as held:
                if held:
                    self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        if not entry.folder.is_dir():  # another process removed it while this one waited
            return
        doomed = self.path / "unpacking" / f"{entry.identifier}.{uuid.uuid4().hex}"
        doomed.parent.mkdir(parents=True, exist_ok=True)
        unlock_folders(entry.folder)
        entry.folder.replace(doomed)
        shutil.rmtree(doomed)
        shutil.rmtree(self.path / "bytecode" / entry.identifier, ignore_errors=True)
        forget_acceptances(self.path, entry.digest)


def check_pinned(wheel: Path, found: str, sha256: str | None) -> None:
    """Check a wheel's digest against the one asked for, of which at least the first 8 digits are given.

    Raises:
        IntegrityError: it is another one, or what is asked for is no digest.
    """
    if sha256 is None:
        return
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise IntegrityError(
            str(wheel),
            [f"asked for is sha256 {sha256!r}, which is none: 8 to 64 hex digits are expected"],
            f"mpt zoo add WHEEL --sha256 {found}   # if that is the digest that you expect",
        )
    if not found.startswith(sha256.lower()):
        raise IntegrityError(
            str(wheel),
            [f"it has sha256 {found}, asked for is {sha256}: another project may have this name"],
            "mpt zoo add WHEEL   # the wheel with that digest",
        )


def _copied(path: Path, folder: Path) -> Wheel:
    """Copy a wheel to where nobody else writes, and read it there."""
    folder.mkdir(parents=True)
    copy = folder / path.name
    shutil.copyfile(path, copy)
    return read_wheel(copy, named=path)


def _ordered(wheels: Sequence[Wheel]) -> list[Wheel]:
    """Return the main wheel, then its companions in an order that does not depend on how they were given."""
    return [wheels[0], *sorted(wheels[1:], key=lambda wheel: (wheel.name.lower(), wheel.sha256))]


def unit_digest(wheels: Sequence[Wheel]) -> str:
    """Return the digest of a unit: of the wheel where it stands alone, else over its wheels' names and digests."""
    if len(wheels) == 1:
        return wheels[0].sha256
    lines = [f"{wheel.name} {wheel.version} {wheel.sha256}\n" for wheel in wheels]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_entry(folder: Path) -> Entry | None:
    """Return the entry in a folder, None where it is not complete or another process just removed it."""
    try:
        return Entry(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None


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


def _spelled(distribution: str) -> str:
    """Return a name as an index compares it: names that are spelt alike there are one distribution."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(distribution)


def _order(version: str) -> Any:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
