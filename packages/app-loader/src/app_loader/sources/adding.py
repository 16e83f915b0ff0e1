"""From a source to an entry: each way of taking a unit into the store, its digest checked before anything is kept."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from app_loader.errors import IntegrityError, ProvenanceError, SourceRefusedError
from app_loader.package_digest import package_digest
from app_loader.provenance import build_wheel
from app_loader.settings import Settings
from app_loader.sources.index import fetch_wheels
from app_loader.sources.wheelhouse import find_wheels, wheel_sha256
from app_loader.store import Entry, Store
from app_loader.store.shared import judge_shared_libraries
from app_loader.store.wheel import read_wheel

if TYPE_CHECKING:
    from mpt_format import CodeRecord

ALWAYS_SHARED = frozenset(
    {"torch", "numpy", "pydantic", "pydantic-core", "safetensors", "policy-interface", "triton", "torchvision"}
)
"""What a process has one version of: native libraries, and the contract whose types cross the border."""


def add_wheels(store: Store, wheels: Sequence[Path], *, sha256: str | None = None, **provenance: Any) -> Entry:
    """Add a unit of wheels that a person named: the main wheel, then its private companions.

    Raises:
        IntegrityError: the main wheel has another digest than the one asked for.
    """
    _check_digest(wheels[0], sha256)
    return store.add(wheels, provenance={"source": "wheel", "files": [path.name for path in wheels], **provenance})


def add_requirement(
    store: Store,
    requirement: str,
    settings: Settings,
    *,
    companions: Sequence[str] = (),
    sha256: str | None = None,
    resolve_companions: bool = True,
) -> Entry:
    """Add a distribution by requirement, from a configured wheelhouse or index, with the companions it needs.

    A companion is a library that the wheel asks for in a range outside of what is installed, or that is not installed,
    and that is pure Python. torch, numpy, pydantic, safetensors and the contract are never companions.

    Args:
        store: where to add it.
        requirement: as in ``x-transformers==1.42.0``.
        settings: what may be taken from where.
        companions: further requirements or wheel files to take in as private companions.
        sha256: the digest that the main wheel must have.
        resolve_companions: whether to look for companions that were not named.

    Raises:
        SourceRefusedError: no configured source gives it.
        IntegrityError: the wheel has another digest than the one asked for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        main, source = _take(requirement, settings, folder, sha256)
        _check_digest(main, sha256)
        private: dict[str, Path] = {}
        for text in companions:
            _take_companion(text, settings, folder, private)
        if resolve_companions:
            _resolve_companions(main, settings, folder, private)
        private.pop(canonicalize_name(read_wheel(main).name), None)
        return store.add(
            [main, *private.values()],
            provenance={
                "source": source,
                "requirement": requirement,
                "files": [main.name, *(p.name for p in private.values())],
            },
        )


def add_repository(
    store: Store,
    repository: str,
    commit: str,
    settings: Settings,
    *,
    distribution: str | None = None,
    subdirectory: str | None = None,
    companions: Sequence[Path] = (),
    named_by_person: bool = True,
) -> Entry:
    """Build a wheel from a repository at a commit and add it.

    Args:
        store: where to add it.
        repository: a local folder or a URL.
        commit: a commit, tag or branch.
        settings: what may be taken from where.
        distribution: the project's name, to find its folder in the repository.
        subdirectory: its folder.
        companions: wheels of private companions.
        named_by_person: a person typed the repository; a local folder then needs no setting.

    Raises:
        SourceRefusedError: the settings do not allow the repository.
        ProvenanceError: the wheel could not be built.
    """
    _check_repository(repository, settings, named_by_person=named_by_person)
    with tempfile.TemporaryDirectory() as scratch:
        built = build_wheel(
            _absolute(repository),
            commit,
            Path(scratch),
            distribution=distribution,
            subdirectory=subdirectory,
            offline=not settings.fetch,
        )
        provenance = {
            "source": "repository",
            "repository": built.repository,
            "commit": built.commit,
            "subdirectory": built.subdirectory,
        }
        return store.add([built.path, *companions], provenance=provenance)


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
) -> Entry:
    """Add the code that an archive pins: from a wheelhouse or index by digest, or built again from its recorded source.

    Args:
        store: where to add it.
        record: the manifest's code record.
        settings: what may be taken from where.
        diff: the archive's recorded difference.
        from_source: build it from the recorded repository and commit.
        repository: where to find that repository instead, such as a local clone.
        accept_digest: a wheel digest to accept in place of the pinned one; it is recorded with the entry.
        archive: its path, for the next command to name.

    Raises:
        SourceRefusedError: no configured source gives it.
        IntegrityError: what was found or built is other code than what was pinned.
        ProvenanceError: the archive does not say where its source lies, or it cannot be built.
    """
    subject = f"{record.distribution} {record.version}"
    if not from_source:
        if record.wheel_sha256 is None:
            raise SourceRefusedError(
                subject,
                ["the archive pins no wheel, because its code was no wheel when it was saved"],
                _rebuild_command(repository or record.repository, archive),
            )
        return add_requirement(store, f"{record.distribution}=={record.version}", settings, sha256=record.wheel_sha256)
    if record.commit is None or (record.repository is None and repository is None):
        raise ProvenanceError(
            subject,
            ["the archive records no repository or no commit"],
            "mpt zoo add WHEEL   # with the wheel that trained it",
        )
    place = repository or record.repository or ""
    _check_repository(
        place, settings, named_by_person=repository is not None, next_command=_rebuild_command(place, archive)
    )
    with tempfile.TemporaryDirectory() as scratch:
        built = build_wheel(
            _absolute(place),
            record.commit,
            Path(scratch) / "build",
            distribution=record.distribution,
            diff=diff,
            offline=not settings.fetch,
        )
        sha256 = wheel_sha256(built.path)
        accepted = _judge_build(built.path, sha256, record, Path(scratch) / "unpacked", accept_digest, archive)
        provenance = {
            "source": "repository",
            "repository": built.repository,
            "commit": built.commit,
            "subdirectory": built.subdirectory,
            "with_diff": built.with_diff,
            "pinned": record.wheel_sha256 or record.package_sha256,
            "accepted_because": accepted,
        }
        return store.add([built.path], provenance=provenance)


def _judge_build(
    wheel: Path, sha256: str, record: CodeRecord, unpacked: Path, accept_digest: str | None, archive: str
) -> str:
    """Return why a built wheel is accepted."""
    if record.wheel_sha256 is not None and sha256 == record.wheel_sha256:
        return "the wheel has the pinned sha256"
    found = None
    if record.package is not None and record.package_sha256 is not None:
        import zipfile

        with zipfile.ZipFile(wheel) as packed:  # our own build; the store checks it again before it keeps it
            packed.extractall(unpacked, [n for n in packed.namelist() if n.startswith(f"{record.package}/")])
        found = package_digest(unpacked / record.package) if (unpacked / record.package).is_dir() else None
        if found == record.package_sha256:
            return f"the files of its package {record.package} have the pinned digest"
    if accept_digest is not None and sha256 == accept_digest:
        return "its digest was named explicitly"
    problems = [f"the built wheel has sha256 {sha256}, pinned is {record.wheel_sha256 or 'none'}"]
    if record.package_sha256 is not None:
        problems.append(f"its package has digest {found}, pinned is {record.package_sha256}")
    raise IntegrityError(
        f"{record.distribution} {record.version}",
        problems,
        f"mpt zoo add {shlex.quote(archive)} --from-source --accept-digest {sha256}   "
        "# only if you know why it differs",
    )


def _absolute(repository: str) -> str:
    """Return a folder as git finds it from anywhere: it is cloned from within another folder."""
    return str(Path(repository).absolute()) if "://" not in repository and Path(repository).is_dir() else repository


def _rebuild_command(repository: str | None, archive: str) -> str:
    """Return the command that builds an archive's code again; a folder that is here is named, so that it is allowed."""
    command = f"mpt zoo add {shlex.quote(archive)} --from-source"
    if repository is None or "://" in repository or not Path(repository).is_dir():
        return f"{command} --repository LOCAL_CLONE"
    return f"{command} --repository {shlex.quote(repository)}"


def _check_repository(
    repository: str,
    settings: Settings,
    *,
    named_by_person: bool,
    next_command: str = "mpt zoo add LOCAL_CLONE --commit COMMIT",
) -> None:
    local = "://" not in repository and Path(repository).is_dir()
    problems = []
    if not (named_by_person and local) and not settings.allows_repository(repository):
        problems.append("it is not among the repositories of mpt.toml")
    if not local and not settings.fetch:
        problems.append("fetching is off; it is allowed by fetch = true in mpt.toml")
    if problems:
        raise SourceRefusedError(repository, problems, next_command)


def _take(requirement: str, settings: Settings, folder: Path, sha256: str | None) -> tuple[Path, str]:
    """Return the main wheel and the kind of source that gave it."""
    wanted = _requirement(requirement)
    found = find_wheels(settings.wheelhouses, wanted, sha256)
    digests = {wheel_sha256(path) for path in found if _version(path) == _version(found[-1])}
    if len(digests) > 1:
        raise SourceRefusedError(
            requirement,
            [f"the wheelhouses have it with several digests: {', '.join(sorted(d[:12] for d in digests))}"],
            f"mpt zoo add '{requirement}' --sha256 DIGEST",
        )
    if found:
        return found[-1], "wheelhouse"
    problems = [f"none of the wheelhouses has it: {', '.join(map(str, settings.wheelhouses)) or 'none is configured'}"]
    try:
        return fetch_wheels([requirement], settings, folder)[0], "index"
    except SourceRefusedError as error:
        raise SourceRefusedError(requirement, [*problems, *error.problems], error.next_command) from error


def _take_companion(text: str, settings: Settings, folder: Path, private: dict[str, Path]) -> None:
    path = Path(text)
    wheel = path if path.suffix == ".whl" else _take(text, settings, folder, None)[0]
    private[canonicalize_name(read_wheel(wheel).name)] = wheel


def _resolve_companions(main: Path, settings: Settings, folder: Path, private: dict[str, Path]) -> None:
    """Add what the wheel asks for outside of what is installed, and what that asks for in turn."""
    pending = [main, *private.values()]
    while pending:
        wheel = read_wheel(pending.pop())
        for library in judge_shared_libraries(wheel.requires, private):
            name = canonicalize_name(library.name)
            if library.met or name in ALWAYS_SHARED:
                continue
            try:
                found, _ = _take(f"{library.name}{library.asked}", settings, folder, None)
            except SourceRefusedError:
                continue  # the judgement of shared libraries names it when the code is imported
            private[name] = found
            pending.append(found)


def _check_digest(wheel: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = wheel_sha256(wheel)
    if not found.startswith(sha256.lower()):
        raise IntegrityError(
            str(wheel),
            [f"it has sha256 {found}, asked for is {sha256}: another project may have this name"],
            "mpt zoo add WHEEL   # the wheel with that digest",
        )


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise SourceRefusedError(
            text, [f"it is no file, folder, archive, repository or requirement: {error}"], "mpt zoo add --help"
        ) from error


def _version(path: Path) -> str:
    return path.name.split("-")[1]
