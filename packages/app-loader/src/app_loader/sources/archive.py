"""The code that an archive pins: from a wheelhouse or index by digest, or built again from its recorded source."""

from __future__ import annotations

import re
import shlex
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from app_loader.errors import IntegrityError, ProvenanceError, SourceRefusedError
from app_loader.package_digest import package_digest
from app_loader.provenance import BuiltWheel, build_wheel
from app_loader.settings import Settings
from app_loader.sources.companions import PinnedCompanion
from app_loader.sources.repositories import absolute, check_repository, rebuild_command
from app_loader.sources.requirement import add_requirement, take_pinned
from app_loader.sources.wheelhouse import wheel_sha256
from app_loader.store import Entry, Store
from app_loader.store.wheel import read_wheel

if TYPE_CHECKING:
    from mpt_format import CodeRecord


_BY_HAND = "mpt zoo add WHEEL   # the wheel that trained it, or one of the very same files"


def add_archive(
    store: Store,
    record: CodeRecord,
    settings: Settings,
    *,
    diff: bytes | None = None,
    from_source: bool = False,
    repository: str | None = None,
    accept_digest: str | None = None,
    archive: str = "ARCHIVE",
    pinned: Sequence[PinnedCompanion] = (),
    companions: Sequence[str] = (),
) -> Entry:
    """Add the code that an archive pins: from a wheelhouse or index by digest, or built again from its recorded source.

    What the store has already is returned as it is, wherever it came from.

    Args:
        store: where to add it.
        record: the manifest's code record.
        settings: what may be taken from where.
        diff: the archive's recorded difference.
        from_source: build it from the recorded repository and commit.
        repository: where to find that repository instead, such as a local clone.
        accept_digest: a wheel digest to accept in place of the pinned one; it is recorded in the store.
        archive: its path, for the next command to name.
        pinned: the private companions that the archive pins.
        companions: companions that a person names, for an archive that pins them together and lists none.

    Raises:
        SourceRefusedError: no configured source gives it.
        IntegrityError: what was found or built is other code than what was pinned.
        ProvenanceError: the archive does not say where its source lies, or it cannot be built.
    """
    if from_source:
        return _add_built(store, record, settings, diff, repository, accept_digest, archive, pinned)
    subject = f"{record.distribution} {record.version}"
    if record.wheel_sha256 is None:
        raise SourceRefusedError(
            subject,
            ["the archive pins no wheel, because its code was no wheel when it was saved"],
            _BY_HAND if record.commit is None else rebuild_command(repository or record.repository, archive),
        )
    stored = next((e for e in store.entries() if e.digest == (record.unit_sha256 or record.wheel_sha256)), None)
    if stored is not None and not companions:
        return stored  # by the digest of all that is pinned: there is nothing to look for
    with tempfile.TemporaryDirectory() as scratch:
        wheels = [str(path) for path in take_pinned(pinned, settings, Path(scratch))]
        return add_requirement(
            store,
            _exact(record.distribution, record.version),
            settings,
            companions=[*wheels, *companions],
            sha256=record.wheel_sha256,
            unit_sha256=record.unit_sha256,
            resolve_companions=not pinned and not companions,
        )


def _add_built(
    store: Store,
    record: CodeRecord,
    settings: Settings,
    diff: bytes | None,
    repository: str | None,
    accept_digest: str | None,
    archive: str,
    pinned: Sequence[PinnedCompanion],
) -> Entry:
    subject = f"{record.distribution} {record.version}"
    if record.commit is None or (record.repository is None and repository is None):
        raise ProvenanceError(
            subject,
            ["the archive records no repository or no commit"],
            _BY_HAND,
        )
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", record.commit):
        raise ProvenanceError(subject, [f"the archive records the commit {record.commit!r:.80}, which is none"])
    place = repository or settings.find_moved(record.repository or "")
    check_repository(
        place, settings, named_by_person=repository is not None, next_command=rebuild_command(place, archive)
    )
    with tempfile.TemporaryDirectory() as scratch:
        built = build_wheel(
            absolute(place),
            record.commit,
            Path(scratch) / "build",
            distribution=record.distribution,
            version=record.version,
            package=record.package,
            diff=diff,
            offline=not settings.fetch,
            settings=settings,
        )
        verdict = _judge_build(built, record, Path(scratch) / "unpacked", accept_digest, archive)
        provenance = {
            "source": "repository",
            "repository": built.repository,
            "commit": built.commit,
            "subdirectory": built.subdirectory,
            "with_diff": built.with_diff,
            "pinned": record.wheel_sha256 or record.package_sha256,
            "accepted_because": verdict.because,
        }
        companions = take_pinned(pinned, settings, Path(scratch))
        entry = store.add([built.path, *companions], provenance=provenance, unit_sha256=record.unit_sha256)
    if verdict.stands_for is not None:
        store.accept(entry, verdict.stands_for, because=verdict.because, exact=verdict.exact)
    return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """Why a build is accepted; what it stands for where its own digests are not those that the archive pins."""

    because: str
    exact: bool = True
    stands_for: str | None = None


def _judge_build(
    built: BuiltWheel, record: CodeRecord, unpacked: Path, accept_digest: str | None, archive: str
) -> _Verdict:
    sha256 = wheel_sha256(built.path)
    if record.wheel_sha256 is not None and sha256 == record.wheel_sha256:
        return _Verdict(because="the wheel has the pinned sha256")
    wheel = read_wheel(built.path)
    found = None
    if record.package is not None and record.package_sha256 is not None:
        folder = _unpack_package(built.path, record.package, unpacked)
        found = package_digest(folder) if folder.is_dir() else None
        if found == record.package_sha256:
            return _Verdict(because=f"the files of its package {record.package} have the pinned digest")
        if built.source_sha256 == record.package_sha256 and built.source and _holds_only(folder, built.source):
            because = f"it was built from files of {record.package} that have the pinned digest"
            return _Verdict(because=because, stands_for=record.package_sha256)
    pinned = record.wheel_sha256 or record.package_sha256
    if accept_digest is not None and sha256 == accept_digest.lower():
        return _Verdict(because="its digest was named explicitly", exact=False, stands_for=pinned)
    problems = [f"the built wheel has sha256 {sha256}, pinned is {record.wheel_sha256 or 'none'}"]
    if (wheel.name, wheel.version) != (record.distribution, record.version):
        problems.append(f"it is {wheel.name} {wheel.version}, trained was {record.distribution} {record.version}")
    if record.package_sha256 is not None:
        problems.append(f"its package has digest {found}, pinned is {record.package_sha256}")
        if built.source_sha256 != record.package_sha256:
            problems.append(f"the source it was built from has {built.source_sha256}: files differ or are missing")
    problems += [f"{name} is kept by git LFS, and its content is not here" for name in built.missing]
    raise IntegrityError(
        f"{record.distribution} {record.version}",
        problems,
        f"mpt zoo add {shlex.quote(archive)} --from-source --accept-digest {sha256}   "
        "# only if you know why it differs",
    )


def _unpack_package(wheel: Path, package: str, folder: Path) -> Path:
    """Unpack one package of a wheel of our own build; the store checks the wheel again before it keeps it."""
    if not package.isidentifier():  # the archive says it
        return folder / "no package"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder, [name for name in packed.namelist() if name.startswith(f"{package}/")])
    return folder / package


def _holds_only(folder: Path, source: Path) -> bool:
    """Whether a package of a wheel holds modules, and nothing but files that its source has, byte for byte."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    same = all(
        (source / path.relative_to(folder)).is_file()
        and (source / path.relative_to(folder)).read_bytes() == path.read_bytes()
        for path in files
    )
    return same and any(path.suffix == ".py" for path in files)


def _exact(distribution: str, version: str) -> str:
    """Return the requirement on one version; what stands in an archive is no requirement before it is read as one."""
    text = f"{distribution}=={version}"
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        requirement = None
    if requirement is None or requirement.name != distribution or str(requirement.specifier) != f"=={version}":
        raise SourceRefusedError(
            f"{distribution} {version}", ["it is no name and version of a distribution"], "mpt zoo add WHEEL"
        )
    return text
