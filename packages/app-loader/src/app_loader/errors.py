"""The errors of app-loader.

LoaderError (an MptError)
├── ResolutionError            no code may compute this checkpoint: every candidate with its reason
│   ├── VersionNotStoredError      the version asked for is neither stored nor installed
│   ├── UnknownKindError           the code does not declare the checkpoint's kind
│   └── IncompatibleInterfaceError the code asks for another contract or shared library than the ones installed
├── IntegrityError             bytes are not what a digest or a RECORD pins
│   └── UnsafeWheelError           a wheel holds something that no wheel of pure modules holds
├── IsolationError             a wheel cannot be imported in isolation, with the reason
│   ├── NativeCodeError            it holds compiled modules: a process takes one version of those
│   ├── RegistrationConflictError  two versions claim one name in a table of the process
│   ├── SharedLibraryError         it does not run with today's shared libraries: which moved, what would help
│   └── UnitNotFoundError          an isolated module was asked for by name; no store or folder here has its unit
├── SourceRefusedError         the settings do not allow to take code from there, or nothing could be taken
├── SettingsError              mpt.toml or [tool.mpt] breaks its grammar
│   └── ForeignSettingsError   ... is not the person's own
├── DeviceError                the weights cannot be put on the device asked for (also a RuntimeError)
├── BuildError                 the code cannot build the policy: the stage and what it raised
├── RestoreError               the weights do not fit the built policy: every key
├── WitnessError               the policy does not do what the witness recorded
├── MigrationError             a migration is missing, unreviewed, or does not fit
└── ProvenanceError            where code comes from cannot be recorded or rebuilt

Every error keeps its facts as attributes and survives pickle: its arguments are its attributes.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from mpt_format.errors import MptError

if TYPE_CHECKING:
    from policy_interface import Problem

    from app_loader.resolve import Resolution
    from app_loader.witness import WitnessReport

LOAD_TRAINED = "mpt load ARCHIVE --code trained   # the code it was trained with"
"""What to run where an archive cannot follow other code."""

_SHOWN = 12


class LoaderError(MptError):
    """Base of every error of app-loader.

    Pickle calls the constructor again with the arguments it was called with, so a subclass only writes its message. The
    text is kept as it is now: its command may have been completed since.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments for pickle."""
        error = super().__new__(cls, *args)
        error._arguments = (args, kwargs)
        return error

    def __reduce__(self) -> tuple[object, ...]:
        """Return how pickle makes the error again."""
        args, kwargs = self._arguments
        completed = {name: getattr(self, name) for name in ("args", "next_command") if hasattr(self, name)}
        return functools.partial(type(self), **kwargs), args, completed


class ResolutionError(LoaderError):
    """No code may compute a checkpoint.

    Attributes:
        archive: the archive's path.
        resolution: what was considered and why each candidate was rejected.
    """

    def __init__(self, archive: str, resolution: Resolution) -> None:
        self.archive = archive
        self.resolution = resolution
        super().__init__(
            f"{archive}: no code for code={resolution.requested!r}; what was considered:\n"
            f"{resolution.to_text()}\nRun: {resolution.next_command}"
        )


class VersionNotStoredError(ResolutionError):
    """The version asked for is neither in the store nor installed.

    Attributes:
        distribution: the distribution asked for.
        version: the version asked for.
        digest: sha256 (hex) of the wheel asked for, None when only a version was.
        store: the store's folder.
        next_command: what to run.
    """

    def __init__(
        self,
        *,
        distribution: str,
        version: str,
        digest: str | None,
        store: str,
        resolution: Resolution | None = None,
        archive: str = "",
        next_command: str = "",
    ) -> None:
        self.distribution = distribution
        self.version = version
        self.digest = digest
        self.store = store
        self.resolution = resolution  # type: ignore[assignment]  # asked for by name, there is no archive
        self.archive = archive
        wanted = shlex.quote(f"{distribution}=={version}")
        self.next_command = next_command or f"mpt zoo add {wanted}   # or: mpt zoo add WHEEL"
        pinned = f" with wheel sha256 {digest}" if digest else ""
        considered = f"; what was considered:\n{resolution.to_text()}" if resolution else ""
        LoaderError.__init__(
            self,
            f"{archive + ': ' if archive else ''}{distribution} {version}{pinned} is not in the store {store}"
            f"{considered}\nRun: {self.next_command}",
        )


class UnknownKindError(ResolutionError):
    """A distribution does not declare the kind that a checkpoint names.

    Attributes:
        kind: the checkpoint's kind.
        distribution: the distribution that was asked.
        version: its version.
        declared: the kinds that it declares.
    """

    def __init__(self, *, kind: str, distribution: str, version: str, declared: Sequence[str]) -> None:
        self.kind = kind
        self.distribution = distribution
        self.version = version
        self.declared = tuple(declared)
        LoaderError.__init__(
            self,
            f"{distribution} {version} declares no architecture of kind {kind!r}; it declares "
            f"{', '.join(declared) or 'none'} (entry points of the group policy_interface.architectures).\n"
            "Run: mpt diagnose ARCHIVE   # says whether the kind moved or is gone",
        )


class IncompatibleInterfaceError(ResolutionError):
    """Code asks for another version of something shared than the one installed; none of it has run.

    Attributes:
        distribution: the code's distribution.
        version: its version.
        library: what is shared: the contract, torch, numpy, ...
        required: the range that the code's metadata states.
        installed: the version at hand, None when absent.
    """

    def __init__(
        self,
        *,
        distribution: str,
        version: str,
        required: str,
        installed: str | None,
        library: str = "policy-interface",
    ) -> None:
        self.distribution = distribution
        self.version = version
        self.library = library
        self.required = required
        self.installed = installed
        LoaderError.__init__(
            self,
            f"{distribution} {version} needs {library}{required}, here is "
            f"{f'{library} {installed}' if installed else 'none'}; one process shares one {library}.\n"
            f"Run it in an environment of its own: uv run --with '{library}{required}' ...",
        )


class IntegrityError(LoaderError):
    """Bytes are not what they must be.

    Attributes:
        subject: the wheel, entry or file.
        problems: every difference found, in words.
    """

    def __init__(self, subject: str, problems: Iterable[str], next_command: str = "mpt zoo verify") -> None:
        self.subject = subject
        self.problems = tuple(problems)
        self.next_command = next_command
        super().__init__(f"{subject} is not what it must be:{_listing(self.problems)}\nRun: {next_command}")


class IsolationError(LoaderError):
    """A wheel cannot be imported in isolation.

    Attributes:
        subject: the distribution and version, or the isolated name.
        reason: why, in words.
    """

    def __init__(self, subject: str, reason: str, next_command: str = "mpt zoo show") -> None:
        self.subject = subject
        self.reason = reason
        self.next_command = next_command
        super().__init__(f"{subject} cannot be imported in isolation: {reason}\nRun: {next_command}")


class UnsafeWheelError(IntegrityError):
    """A wheel holds something that no wheel of pure modules holds; nothing of it is in the store."""


class NativeCodeError(IsolationError, ImportError):
    """A wheel holds compiled modules and needs them; none of them was loaded.

    It is an ImportError, so that code whose compiled modules are optional goes on without them.

    Attributes:
        files: the compiled files.
    """

    def __init__(self, subject: str, files: Sequence[str]) -> None:
        self.files = tuple(files)
        super().__init__(
            subject,
            f"it holds native code ({', '.join(files[:3])}{', ...' if len(files) > 3 else ''}) and a process takes one "
            "version of a native library; nothing of it was loaded",
            "uv pip install LIBRARY   # as a shared library; or run this version in an environment of its own",
        )


class RegistrationConflictError(IsolationError):
    """Two versions claim one name in a table that belongs to the process.

    Attributes:
        table: which table.
        name: the name claimed twice.
        holder: who holds it already.
    """

    def __init__(self, subject: str, *, table: str, name: str, holder: str) -> None:
        self.table = table
        self.name = name
        self.holder = holder
        super().__init__(
            subject,
            f"it registers {name!r} in {table}, where {holder} holds that name; a second registration would change "
            "what the other computes",
            f"mpt zoo add WHEEL --with '{table.partition('.')[0]}==VERSION'   # where that is a pure library, each "
            "version gets its own; else one of the two in a process of its own",
        )


class SharedLibraryError(IsolationError, ImportError):
    """Old code does not run with the shared libraries of this environment.

    Attributes:
        moved: one line per shared library outside the range that the code asks for.
        cause: type and text of what the code raised.
    """

    def __init__(self, subject: str, *, cause: str, moved: Sequence[str]) -> None:
        self.moved = tuple(moved)
        self.cause = cause
        super().__init__(
            subject,
            f"it raised {cause}; shared libraries outside the range it asks for:{_listing(self.moved)}",
            "mpt zoo add WHEEL --with 'LIBRARY==VERSION'   # a pure library becomes a private companion; "
            "for a native one use an environment of its own",
        )


class UnitNotFoundError(IsolationError, ModuleNotFoundError):
    """An isolated module was asked for by name, as unpickling does, and no store or folder here has its unit.

    Attributes:
        distribution: the unit's distribution.
        version: its version.
        digest: the first digits of its digest.
        stores: the stores that were searched.
        folder: the folder that was the unit in the sending process, None where none was announced.
    """

    def __init__(
        self,
        module: str,
        *,
        distribution: str,
        version: str,
        digest: str,
        stores: Sequence[str],
        folder: str | None = None,
    ) -> None:
        self.distribution = distribution
        self.version = version
        self.digest = digest
        self.stores = tuple(stores)
        self.folder = folder
        unit = f"it belongs to {distribution} {version} (digest {digest}...)"
        if folder is not None:
            super().__init__(
                module,
                f"{unit}, which was the folder {folder}; that is not there, or its files have changed since",
                f"app_loader.isolated.isolate_directory({folder!r})   # in Python, where it is sent, once more; "
                "a store keeps its files as they are: mpt zoo add WHEEL",
            )
        else:
            super().__init__(
                module,
                f"{unit}, which none of these stores has: {', '.join(stores) or 'none known'}",
                f"mpt zoo add {distribution}=={version}   # or set MPT_STORE to the store of the sending process; "
                "where it was a folder there, app_loader.isolated.isolate_directory(FOLDER) here",
            )


class SourceRefusedError(LoaderError):
    """Code is not taken from a source: the settings forbid it, or the source did not give it.

    Attributes:
        source: what was asked for.
        problems: every reason, in words.
    """

    def __init__(self, source: str, problems: Iterable[str], next_command: str) -> None:
        self.source = source
        self.problems = tuple(problems)
        self.next_command = next_command
        super().__init__(f"{source} was not added:{_listing(self.problems)}\nRun: {next_command}")


class SettingsError(LoaderError):
    """A settings file breaks its grammar, or is not the person's own.

    Attributes:
        path: the file.
        problems: every defect found, in words.
    """

    def __init__(self, path: str, problems: Iterable[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__(f"{path} cannot be used as settings:{_listing(self.problems)}\nSee docs/trust.md, 'Settings'")


class ForeignSettingsError(SettingsError):
    """A settings file is not the person's own."""


class DeviceError(LoaderError, RuntimeError):
    """The weights cannot be put on the device that was asked for.

    Attributes:
        device: what was asked for.
        reason: what torch said of it, or why it cannot hold weights.
    """

    def __init__(self, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        super().__init__(
            f"device={device!r} cannot hold the weights: {reason}\nUse device='cpu', or a device of this machine"
        )


class BuildError(LoaderError):
    """The code cannot build the policy.

    Attributes:
        subject: the kind, distribution and version.
        stage: ``import``, ``config``, ``make_policy`` or ``save``.
        cause: type and text of what was raised.
        problems: every config problem with its path, where the stage is about a config.
        archive: the archive's path; empty where none is involved.
        next_command: what to run.
    """

    def __init__(
        self,
        subject: str,
        *,
        stage: str,
        cause: str,
        problems: Sequence[Problem] = (),
        archive: str = "",
        next_command: str = "",
    ) -> None:
        self.subject = subject
        self.archive = archive
        self.stage = stage
        self.cause = cause
        self.next_command = next_command or (
            "policy_interface.check_policy(policy, rules)   # in Python: tells every broken promise of the contract"
            if stage == "save"  # there is no archive yet
            else f"mpt diagnose {_quoted(archive)}   # compares the archive with the code, stage by stage"
        )
        self.problems = tuple(problems)
        super().__init__(f"{subject} cannot be built, at stage {stage}: {cause}\nRun: {self.next_command}")


class RestoreError(LoaderError):
    """The weights do not fit the policy that the code built.

    Attributes:
        subject: the kind, distribution and version.
        missing: keys that the code has and the archive lacks.
        unexpected: keys that the archive has and the code lacks.
        mismatched: (key, shape in the archive, shape in the code).
        other: whatever else was wrong, in words.
        archive: the archive's path; empty where none is involved.
    """

    def __init__(
        self,
        subject: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]] = (),
        other: Sequence[str] = (),
        archive: str = "",
    ) -> None:
        self.subject = subject
        self.archive = archive
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mismatched = tuple(mismatched)
        self.other = tuple(other)
        lines = [f"missing in the archive: {key}" for key in missing]
        lines += [f"unknown to the code: {key}" for key in unexpected]
        lines += [f"{key}: {list(had)} in the archive, {list(wants)} in the code" for key, had, wants in mismatched]
        super().__init__(
            f"the weights do not fit {subject}:{_listing([*lines, *other])}\n"
            f"Run: mpt diagnose {_quoted(archive)}   # explains each difference"
        )


class WitnessError(LoaderError):
    """A policy does not do what its witness recorded.

    Attributes:
        subject: the archive and the code.
        report: every output beside its record; None when the archive has no witness.
    """

    def __init__(self, subject: str, report: WitnessReport | None) -> None:
        self.subject = subject
        self.report = report
        said = "the archive has no witness to replay" if report is None else f"outputs differ:\n{report.to_text()}"
        super().__init__(f"{subject}: {said}\nRun: mpt diagnose ARCHIVE   # or load with verify='structure'")


class MigrationError(LoaderError):
    """A migration is missing, unreviewed, or does not fit.

    Attributes:
        subject: the archive or revision.
        problems: every reason, in words.
    """

    def __init__(self, subject: str, problems: Iterable[str], next_command: str = "mpt diagnose ARCHIVE") -> None:
        self.subject = subject
        self.problems = tuple(problems)
        self.next_command = next_command
        super().__init__(f"{subject} cannot be migrated:{_listing(self.problems)}\nRun: {next_command}")


class ProvenanceError(LoaderError):
    """Where code comes from cannot be recorded or rebuilt.

    Attributes:
        subject: the repository, folder or archive.
        problems: every reason, in words.
    """

    def __init__(self, subject: str, problems: Iterable[str], next_command: str = "") -> None:
        self.subject = subject
        self.problems = tuple(problems)
        self.next_command = next_command
        told = f"\nRun: {next_command}" if next_command else ""
        super().__init__(f"provenance of {subject}:{_listing(self.problems)}{told}")


def _quoted(archive: str) -> str:
    """Return an archive's path as a shell takes it; the word ARCHIVE where it is not known."""
    return shlex.quote(archive) if archive else "ARCHIVE"


def _listing(lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
    return shown + (f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else "")
