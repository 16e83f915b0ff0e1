"""The .mpt archive: one plain zip file that carries a policy's architecture, weights, game rules and provenance.

Never imports torch before a tensor is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpt_format.archive import Archive
    from mpt_format.audit import FileAudit, audit_checkpoint
    from mpt_format.content import ArchiveContent
    from mpt_format.convert import Conversion, convert_checkpoint
    from mpt_format.errors import (
        ArchiveError,
        ArchiveNotFoundError,
        ArchiveProblem,
        ArchiveWriteError,
        AuditError,
        ConversionError,
        CorruptArchiveError,
        ForeignFileError,
        MalformedDocumentError,
        ManifestError,
        MissingExtraError,
        MptError,
        RemoteReadError,
        SignatureError,
        TensorMismatchError,
        UnsafeArchiveError,
        UnstorableStateError,
        UnsupportedVersionError,
    )
    from mpt_format.manifest import Manifest, parse_manifest
    from mpt_format.module_state import ModuleState, StoredTensor, collect_state
    from mpt_format.opening import open_archive
    from mpt_format.payload import BytesPayload, TensorPayload
    from mpt_format.records import (
        AliasRecord,
        ArchitectureRecord,
        CodeRecord,
        MemberRecord,
        ModuleRecord,
        TensorRecord,
        ViewRecord,
    )
    from mpt_format.writer import WrittenArchive, write_archive

__all__ = [
    "AliasRecord",
    "ArchitectureRecord",
    "Archive",
    "ArchiveContent",
    "ArchiveError",
    "ArchiveNotFoundError",
    "ArchiveProblem",
    "ArchiveWriteError",
    "AuditError",
    "BytesPayload",
    "CodeRecord",
    "Conversion",
    "ConversionError",
    "CorruptArchiveError",
    "FileAudit",
    "ForeignFileError",
    "MalformedDocumentError",
    "Manifest",
    "ManifestError",
    "MemberRecord",
    "MissingExtraError",
    "ModuleRecord",
    "ModuleState",
    "MptError",
    "RemoteReadError",
    "SignatureError",
    "StoredTensor",
    "TensorMismatchError",
    "TensorPayload",
    "TensorRecord",
    "UnsafeArchiveError",
    "UnstorableStateError",
    "UnsupportedVersionError",
    "ViewRecord",
    "WrittenArchive",
    "audit_checkpoint",
    "collect_state",
    "convert_checkpoint",
    "open_archive",
    "parse_manifest",
    "write_archive",
]


_NAMES: dict[str, tuple[str, ...]] = {
    "mpt_format.archive": ("Archive",),
    "mpt_format.audit": (
        "FileAudit",
        "audit_checkpoint",
    ),
    "mpt_format.content": ("ArchiveContent",),
    "mpt_format.convert": (
        "Conversion",
        "convert_checkpoint",
    ),
    "mpt_format.errors": (
        "ArchiveError",
        "ArchiveNotFoundError",
        "ArchiveProblem",
        "ArchiveWriteError",
        "AuditError",
        "ConversionError",
        "CorruptArchiveError",
        "ForeignFileError",
        "MalformedDocumentError",
        "ManifestError",
        "MissingExtraError",
        "MptError",
        "RemoteReadError",
        "SignatureError",
        "TensorMismatchError",
        "UnsafeArchiveError",
        "UnstorableStateError",
        "UnsupportedVersionError",
    ),
    "mpt_format.manifest": (
        "Manifest",
        "parse_manifest",
    ),
    "mpt_format.module_state": (
        "ModuleState",
        "StoredTensor",
        "collect_state",
    ),
    "mpt_format.opening": ("open_archive",),
    "mpt_format.payload": (
        "BytesPayload",
        "TensorPayload",
    ),
    "mpt_format.records": (
        "AliasRecord",
        "ArchitectureRecord",
        "CodeRecord",
        "MemberRecord",
        "ModuleRecord",
        "TensorRecord",
        "ViewRecord",
    ),
    "mpt_format.writer": (
        "WrittenArchive",
        "write_archive",
    ),
}
"""Module -> the public names that it defines. It is imported when one of them is asked for: an audit needs no archive,
an archive no audit, and a command is as quick as what it uses."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a public name and hand the name on."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
