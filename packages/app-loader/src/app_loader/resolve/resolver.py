"""From a manifest to a resolution. Nothing is imported, fetched or written here.

`trained` accepts only code that is the trained code by digest: the wheel's sha256 (with private companions, that of all
of them together), or the digest of the package's files when the checkpoint was saved before its wheel was built. A
version text alone never suffices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from app_loader.code import Code, StoredCode, find_installed
from app_loader.resolve.next_command import find_next_command
from app_loader.resolve.resolution import Candidate, Resolution, Source

if TYPE_CHECKING:
    from mpt_format import CodeRecord

    from app_loader.store import Entry, Store


def resolve(
    record: CodeRecord,
    requested: str,
    store: Store,
    *,
    wheelhouses: Sequence[Path] = (),
    archive: str = "ARCHIVE",
    indexed: bool = False,
) -> Resolution:
    """Return what could compute a checkpoint.

    Args:
        record: the manifest's code record.
        requested: ``trained``, ``current`` or a version text.
        store: where isolated versions live.
        wheelhouses: folders that are looked through for a wheel to add when nothing else may be used; what lies there
            is never used as it is.
        archive: the archive's path, for the next command to name.
        indexed: whether a configured index is listed for the distribution, likewise.
    """
    trained = requested == "trained"
    if trained:
        candidates = tuple(_trained(record, store))
    elif requested == "current":
        candidates = tuple(_current(record, store))
    else:
        candidates = tuple(_version(record, store, requested))
    addable = requested != "current" and (not trained or _is_pinned(record))
    accepted = any(candidate.accepted for candidate in candidates)
    if addable and not accepted:
        version = record.version if trained else requested.partition("@")[0]
        wheels = _wheels(record, wheelhouses, version, sha256=record.wheel_sha256 if trained else None)
        candidates = (*candidates, *wheels)
    command = (
        "" if accepted else find_next_command(record, requested, candidates, store, archive=archive, indexed=indexed)
    )
    return Resolution(requested=requested, candidates=candidates, store=str(store.path), next_command=command)


def _trained(record: CodeRecord, store: Store) -> Iterator[Candidate]:
    def preference(entry: Entry) -> tuple[bool, int]:
        """The pinned wheel before another release of the very same files; a wheel that stands alone before others."""
        return entry.wheels[0].sha256 != record.wheel_sha256, len(entry.wheels)

    stored = False
    for entry in sorted(_entries(store, record.distribution), key=preference):
        candidate = _judge_stored(store, entry, record)
        stored = stored or candidate.accepted
        yield candidate
    installed = find_installed(record.distribution)
    if installed is None:
        yield _absent("environment", record.distribution, "not installed")
    elif stored:  # the digest of a large installed package takes longer than all the rest of a load
        yield _candidate("environment", installed, False, "not looked at: the store has the pinned code")
    else:
        yield _judge_identity("environment", installed, record)


def _wheels(
    record: CodeRecord, wheelhouses: Sequence[Path], version: str, *, sha256: str | None = None
) -> Iterator[Candidate]:
    """Yield the wheels that could be added: never accepted, because adding one is an act of trust."""
    for wheel in (wheel for folder in wheelhouses for wheel in sorted(folder.glob("*.whl"))):
        try:
            name, of, *_ = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        if name != canonicalize_name(record.distribution) or not _same_version(str(of), version):
            continue
        if not wheel.is_file():  # a pipe is waited for without end
            continue
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        fits = sha256 is None or digest == sha256
        reason = f"not in the store; mpt zoo add {wheel}" if fits else f"{wheel} has another sha256 than the pinned one"
        yield Candidate(
            source="wheelhouse",
            distribution=record.distribution,
            version=str(of),
            digest=digest,
            accepted=False,
            reason=reason,
            location=str(wheel) if fits else None,
        )


def _judge_stored(store: Store, entry: Entry, record: CodeRecord) -> Candidate:
    """Judge an entry by its digests, then by what a person let it stand for."""
    code = StoredCode(entry)
    candidate = _judge_identity("store", code, record)
    if not candidate.accepted:
        if record.unit_sha256 is None:
            for pinned in (record.wheel_sha256, record.package_sha256):
                acceptance = store.find_acceptance(entry, pinned)
                if acceptance is not None:
                    return _candidate("store", code, True, acceptance.because, exact=acceptance.exact)
        return candidate
    if record.unit_sha256 is None and len(entry.wheels) > 1:
        private = ", ".join(f"{wheel.name} {wheel.version}" for wheel in entry.wheels[1:])
        reason = f"{candidate.reason}; the archive does not pin its private companions: {private}"
        return _candidate("store", code, True, reason)
    return candidate


def _judge_identity(source: Source, code: Code, record: CodeRecord) -> Candidate:
    if record.unit_sha256 is not None:
        same = code.unit_sha256 == record.unit_sha256
        fits = "its wheel and companions together have the pinned digest"
        reason = fits if same else f"not the pinned unit: {_wanted(record)} was trained with private companions"
        return _candidate(source, code, same, reason)
    if record.wheel_sha256 is not None and code.wheel_sha256 == record.wheel_sha256:
        if source == "environment" and _was_edited(code, record):
            reason = f"installed from the pinned wheel, but the files of {record.package} were changed since"
            return _candidate(source, code, False, reason)
        return _candidate(source, code, True, "its wheel has the pinned sha256")
    if record.package is not None and record.package_sha256 is not None:
        if code.package_sha256(record.package) == record.package_sha256:
            return _candidate(source, code, True, f"the files of its package {record.package} have the pinned digest")
        return _candidate(source, code, False, f"other code: it was trained with {_wanted(record)}")
    if not _is_pinned(record):
        return _candidate(source, code, False, "the checkpoint records no digest that it could be compared with")
    return _candidate(source, code, False, f"not the pinned wheel: it was trained with {_wanted(record)}")


def _is_pinned(record: CodeRecord) -> bool:
    """Tell whether any digest was recorded, as it is not for a foreign checkpoint converted with a bare version."""
    return any((record.unit_sha256, record.wheel_sha256, record.package_sha256))


def _was_edited(code: Code, record: CodeRecord) -> bool:
    """Tell whether installed files differ from those of the wheel they came from; a store's cannot."""
    if record.package is None or record.package_sha256 is None:
        return False
    return code.package_sha256(record.package) != record.package_sha256


def _current(record: CodeRecord, store: Store) -> Iterator[Candidate]:
    installed = find_installed(record.distribution)
    if installed is not None:
        yield _candidate("environment", installed, True, "the installed version is the current one")
        return
    yield _absent("environment", record.distribution, "not installed")
    entries = sorted(_entries(store, record.distribution), key=lambda entry: _order(entry.version), reverse=True)
    for place, entry in enumerate(entries):
        reason = "the newest version of the store" if place == 0 else f"{entries[0].version} is newer"
        yield _candidate("store", StoredCode(entry), place == 0, reason)


def _version(record: CodeRecord, store: Store, requested: str) -> Iterator[Candidate]:
    """A version text, or ``VERSION@DIGEST`` where one version is stored with several digests."""
    version, _, digest = requested.partition("@")
    entries = [e for e in _entries(store, record.distribution) if _same_version(e.version, version)]
    matching = [e for e in entries if (e.wheels[0].sha256 or "").startswith(digest)]
    for entry in entries:
        if entry not in matching:
            yield _candidate("store", StoredCode(entry), False, f"its digest does not start with {digest}")
        elif len(matching) > 1:
            reason = f"{len(matching)} stored wheels have this version: ask for {version}@{entry.wheels[0].sha256[:12]}"
            yield _candidate("store", StoredCode(entry), False, reason)
        else:
            yield _candidate("store", StoredCode(entry), True, "the stored version asked for")
    installed = find_installed(record.distribution)
    if installed is None:
        yield _absent("environment", record.distribution, "not installed")
    elif digest:
        yield _candidate("environment", installed, False, "a digest names a stored wheel")
    elif len(matching) > 1:
        yield _candidate("environment", installed, False, "not taken while several stored wheels have this version")
    else:
        same = _same_version(installed.version, version)
        yield _candidate("environment", installed, same, "the installed version" if same else "another version")


def _entries(store: Store, distribution: str) -> list[Entry]:
    name = canonicalize_name(distribution)
    return [entry for entry in store.entries() if canonicalize_name(entry.distribution) == name]


def _candidate(source: Source, code: Code, accepted: bool, reason: str, *, exact: bool = True) -> Candidate:
    return Candidate(
        source=source,
        distribution=code.distribution,
        version=code.version,
        digest=code.wheel_sha256,
        accepted=accepted,
        reason=reason,
        code=code if accepted else None,
        exact=exact,
    )


def _absent(source: Source, distribution: str, reason: str) -> Candidate:
    return Candidate(source=source, distribution=distribution, version="", digest=None, accepted=False, reason=reason)


def _wanted(record: CodeRecord) -> str:
    named = f"{record.distribution} {record.version}"
    if record.wheel_sha256 is not None:
        return f"{named} sha256:{record.wheel_sha256[:12]}"
    if record.package_sha256 is not None:  # saved from a working tree: that is the digest of files, not of a wheel
        return f"{named}, whose files of {record.package} have the digest {record.package_sha256[:12]}"
    return f"{named} (not pinned)"


def _same_version(a: str, b: str) -> bool:
    try:
        return Version(a) == Version(b)
    except InvalidVersion:
        return a == b


def _order(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")
