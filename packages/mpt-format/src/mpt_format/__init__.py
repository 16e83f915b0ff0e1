"""The .mpt archive: one plain zip file that carries a policy's architecture, weights, game rules and provenance.

Never imports torch before a tensor is asked for.
"""

from __future__ import annotations

from mpt_format.archive import Archive, open_archive
from mpt_format.content import ArchiveContent
from mpt_format.errors import (
    ArchiveError,
    ArchiveNotFoundError,
    ArchiveProblem,
    ArchiveWriteError,
    AuditError,
    ConversionError,
    CorruptArchiveError,
    MalformedDocumentError,
    ManifestError,
    MissingExtraError,
    MptError,
    SignatureError,
    TensorMismatchError,
    UnsafeArchiveError,
    UnstorableStateError,
    UnsupportedVersionError,
)
from mpt_format.manifest import Manifest, parse_manifest
from mpt_format.module_state import ModuleState, StoredTensor, collect_state
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
    "ConversionError",
    "CorruptArchiveError",
    "MalformedDocumentError",
    "Manifest",
    "ManifestError",
    "MemberRecord",
    "MissingExtraError",
    "ModuleRecord",
    "ModuleState",
    "MptError",
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
    "collect_state",
    "open_archive",
    "parse_manifest",
    "write_archive",
]
