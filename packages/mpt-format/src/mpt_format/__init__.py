"""The .mpt archive: one plain zip file that carries a policy's architecture, weights, game rules and provenance.

Never imports torch before a tensor is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpt_format.archive import Archive
from mpt_format.content import ArchiveContent
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

if TYPE_CHECKING:
    from mpt_format.audit import FileAudit, audit_checkpoint
    from mpt_format.convert import Conversion, convert_checkpoint

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


def __getattr__(name: str) -> Any:
    """Import the audit and the conversion when they are asked for: reading an archive needs neither."""
    if name in ("Conversion", "convert_checkpoint"):
        import mpt_format.convert

        return getattr(mpt_format.convert, name)
    if name in ("FileAudit", "audit_checkpoint"):
        import mpt_format.audit

        return getattr(mpt_format.audit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
