"""The errors of the archive format.

MptError
├── ArchiveError                  about one archive: its path and every problem found
│   ├── ArchiveNotFoundError      no file there, or not a regular file (also a FileNotFoundError)
│   ├── CorruptArchiveError       bytes are missing or differ: truncated, wrong digest, wrong checksum
│   ├── RemoteReadError           a server did not give the bytes asked for (also an OSError)
│   ├── UnsafeArchiveError        a structure that no writer of this format makes: foreign or hostile
│   │   └── ForeignFileError          another kind of file, named: a torch.save file, safetensors, a Git LFS pointer
│   ├── MalformedDocumentError    a member's JSON, YAML or tensor header breaks its strict grammar
│   ├── ArchiveWriteError         the file system refused: full, read-only, no permission (also an OSError)
│   └── SignatureError            the signature is absent, made by another key, or of other bytes
├── ManifestError                 manifest.json parses, but a field has a wrong type or value
│   └── UnsupportedVersionError   the archive needs a newer reader
├── TensorMismatchError           tensors cannot be given as asked: unknown prefix, dtype that torch lacks
├── UnstorableStateError          a module's state cannot be stored: every offender with its path
├── MissingExtraError             an optional dependency is needed: names the extra to install
├── ConversionError               a foreign checkpoint cannot become an archive
└── AuditError                    a checkpoint cannot be audited

Unsupported is never reported as corrupt. Every error keeps its facts as attributes and survives pickle.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from errno import ENOENT

_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProblem:
    """One defect of an archive.

    Attributes:
        where: the member and the place in it, as in ``manifest.json: tensors['body.0.weight'].shape``.
        message: what is wrong there and what was expected.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{escape_text(self.where)}: {escape_text(self.message)}"


def escape_text(text: str) -> str:
    """Return text that is safe to print: control, bidirectional and unpaired characters become escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _listing(problems: tuple[ArchiveProblem, ...]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
    hidden = len(problems) - _PROBLEMS_SHOWN
    return shown + (f"\n  ... and {hidden} more" if hidden > 0 else "")


def _with_path(step: str, path: str | None) -> str:
    """Return what to do with the path in the place of PATH, where it is known, so that the command can be pasted."""
    return step if path is None else step.replace("PATH", shlex.quote(escape_text(path)))


class MptError(Exception):
    """Base of every error of mpt-format (and of app-loader)."""


class ArchiveError(MptError):
    """Something about one archive.

    Attributes:
        path: the archive's path or URL as given, or None where only its bytes were at hand.
        problems: every defect found.
    """

    summary = "cannot be used"
    next_step = "run `mpt verify --full PATH` for the whole list"

    def __init__(self, path: str | None, problems: Iterable[ArchiveProblem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        subject = escape_text(path) if path is not None else "archive"
        self.next_step = _with_path(self.next_step, path)
        super().__init__(f"{subject} {self.summary}:{_listing(self.problems)}\n{self.next_step}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.problems)


class ArchiveNotFoundError(ArchiveError, FileNotFoundError):
    """There is no regular file at the path."""

    summary = "cannot be opened"
    next_step = "check the path; an archive is a regular file, usually named *.mpt"


class CorruptArchiveError(ArchiveError):
    """Bytes are missing or differ from what the archive says about itself."""

    summary = "is corrupt"
    next_step = "fetch the file again from its source and compare with `mpt verify --full PATH`"


class RemoteReadError(ArchiveError, OSError):
    """A server did not give the bytes that were asked for; nothing is known about the archive."""

    summary = "could not be read"
    next_step = "try again, or fetch the whole file with your own tool (curl, aws, ...) and open the copy"

    def __str__(self) -> str:
        return str(self.args[0])


class UnsafeArchiveError(ArchiveError):
    """The container has a structure that no writer of this format makes."""

    summary = "is not built as an .mpt archive"
    next_step = (
        "if you trust where it came from, unzip it and rebuild it with `mpt pack FOLDER FILE.mpt`; "
        "for any other checkpoint use `mpt audit`"
    )


class ForeignFileError(UnsafeArchiveError):
    """The file is of another kind, told by its first bytes.

    Attributes:
        found: what it is, in words.
        convertible: whether the audit and the conversion read this kind.
    """

    summary = "is no .mpt archive"

    def __init__(
        self, path: str | None, problems: Iterable[ArchiveProblem], found: str, *, convertible: bool = False
    ) -> None:
        self.found = found
        self.convertible = convertible
        name = escape_text(path) if path is not None else "FILE"
        self.next_step = "fetch the file anew, or check the path; an archive is usually named *.mpt"
        if convertible:
            stem = name.rpartition(".")[0] or name
            # quoted only where a shell needs it, so that the line can be pasted
            source, target = shlex.quote(name), shlex.quote(f"{stem}.mpt")
            self.next_step = f"run `mpt audit {source}`, then `mpt convert {source} -o {target}`"
            if name.endswith(".mpt"):
                self.next_step = f"run `mpt audit {source}`, then `mpt convert {source} -o NEW.mpt`"
        super().__init__(path, problems)

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(type(self), convertible=self.convertible), (self.path, self.problems, self.found)


class MalformedDocumentError(ArchiveError):
    """A JSON, YAML or tensor-header text breaks its strict grammar."""

    summary = "holds a malformed document"
    next_step = "the writer of this file broke the format (docs/format.md); save the policy again"


class ArchiveWriteError(ArchiveError, OSError):
    """The file system refused to take the archive; what stood there before is untouched."""

    summary = "was not written"
    next_step = "free space or choose another folder, then save again; the previous file is unchanged"

    def __init__(self, path: str | None, problems: Iterable[ArchiveProblem], errno: int | None = None) -> None:
        if errno == ENOENT and path is not None:
            folder = escape_text(path).rpartition("/")[0]
            self.next_step = f"make the folder first, `mkdir -p {shlex.quote(folder)}`, or choose another one"
        super().__init__(path, problems)
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.problems, self.errno)

    def __str__(self) -> str:
        return str(self.args[0])


class SignatureError(ArchiveError):
    """The signature does not vouch for this file."""

    summary = "is not vouched for"
    next_step = "ask whoever signed it for the matching public key, or sign it with `mpt sign`"


class ManifestError(MptError):
    """A field of the manifest has a wrong type or value.

    Attributes:
        path: the archive's path, or None where only the text was at hand.
        problems: every defect found.
    """

    summary = "has a manifest that does not keep to the format"
    next_step = "see docs/format.md; the writer of this file broke the format"

    def __init__(self, path: str | None, problems: Iterable[ArchiveProblem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        subject = escape_text(path) if path is not None else "archive"
        super().__init__(f"{subject} {self.summary}:{_listing(self.problems)}\n{self.next_step}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.problems)


class UnsupportedVersionError(ManifestError):
    """The archive is fine and needs a newer reader.

    Attributes:
        needed: the lowest format that a reader must implement.
        supported: the format that this reader implements.
    """

    summary = "needs a newer reader"
    next_step = "upgrade with `pip install --upgrade mpt-format`"

    def __init__(self, path: str | None, needed: int, supported: int) -> None:
        self.needed = needed
        self.supported = supported
        problem = ArchiveProblem(
            where="manifest.json: min_reader",
            message=f"the archive asks for a reader of format {needed}, this one reads up to format {supported}",
        )
        super().__init__(path, [problem])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.needed, self.supported)


class TensorMismatchError(MptError):
    """Tensors cannot be given as asked.

    Attributes:
        path: the archive's path, or None.
        problems: every defect found.
    """

    def __init__(self, path: str | None, problems: Iterable[ArchiveProblem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        subject = escape_text(path) if path is not None else "archive"
        super().__init__(
            f"{subject}: tensors cannot be given as asked:{_listing(self.problems)}\n"
            + _with_path("run `mpt inspect --tensors PATH` to see what it holds", path)
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.problems)


class UnstorableStateError(MptError):
    """A module's state holds something that an archive cannot carry.

    Attributes:
        problems: every offender with its path in the state.
    """

    def __init__(self, problems: Iterable[ArchiveProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"the state cannot be stored:{_listing(self.problems)}\n"
            "extra state is strict JSON, tensors are dense; see docs/format.md, section 'What a state may hold'"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems,)


class MissingExtraError(MptError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: the extra that brings it.
        purpose: what it is needed for.
        distribution: whose extra it is.
        advice: what another library said about how to get it; empty where the extra is all that is needed.
    """

    def __init__(self, extra: str, purpose: str, *, distribution: str = "mpt-format", advice: str = "") -> None:
        self.extra = extra
        self.purpose = purpose
        self.distribution = distribution
        self.advice = advice
        told = advice or f"run `pip install '{distribution}[{extra}]'`"
        super().__init__(f"{purpose} needs an optional dependency; {told}")

    def __reduce__(self) -> tuple[object, ...]:
        made = functools.partial(type(self), distribution=self.distribution, advice=self.advice)
        return made, (self.extra, self.purpose)

    def __str__(self) -> str:
        return str(self.args[0])


class ConversionError(MptError):
    """A foreign checkpoint cannot become an archive.

    Attributes:
        verdict: what the audit says of the source, where that is the reason; else None.
        refusals: path and reason of everything in the source that stands in the way.
    """

    def __init__(self, message: str, *, verdict: str | None = None, refusals: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.refusals = tuple(refusals)

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(type(self), verdict=self.verdict, refusals=self.refusals), self.args


class AuditError(MptError):
    """A checkpoint cannot be audited."""
