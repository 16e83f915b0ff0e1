"""What a file is that is no archive: told from its first bytes, so that a refusal can name the right next command.

Decides nothing about safety and reads no more than the first kilobyte. A zip counts as foreign only when its first
member is one that torch.save writes; whatever else is wrong with a zip is told as it is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from mpt_format.errors import ArchiveProblem, ForeignFileError
from mpt_format.format import MANIFEST

if TYPE_CHECKING:
    from mpt_format.byte_source import ByteSource

_HEAD_BYTES = 1024
_LOCAL_MAGIC = b"PK\x03\x04"
_NAME_LENGTH_AT = 26  # APPNOTE 4.3.7: the name's length, and at 30 the name
_NAME_AT = 30
_MAX_HEADER_BYTES = 100_000_000  # what safetensors itself accepts


def find_foreign(source: ByteSource) -> ForeignFileError | None:
    """Return the error that names the kind of a file that is no archive; None when its first bytes tell none."""
    head = source.read_at(0, min(_HEAD_BYTES, source.size_bytes))
    told = _convertible(head, source.size_bytes)
    convertible = told is not None
    if told is None and head and not head.startswith(_LOCAL_MAGIC):
        from mpt_format.audit._sniff import find_foreign_format

        found = find_foreign_format(head)
        told = None if found is None else found[1]
    if told is None:
        return None
    problem = ArchiveProblem(where="file", message=f"is {told}")
    return ForeignFileError(source.name, [problem], told, convertible=convertible)


def _convertible(head: bytes, size_bytes: int) -> str | None:
    from mpt_format.audit._sniff import looks_like_pickle

    if head.startswith(_LOCAL_MAGIC) and len(head) > _NAME_AT:
        (length,) = struct.unpack_from("<H", head, _NAME_LENGTH_AT)
        name = head[_NAME_AT : _NAME_AT + length]
        is_torch = name != MANIFEST.encode() and name.endswith((b"/data.pkl", b"/version", b"/byteorder"))
        return "a PyTorch checkpoint (torch.save)" if is_torch else None
    if looks_like_pickle(head):
        return "a pickle, as older versions of torch.save write"
    (header,) = struct.unpack_from("<Q", head) if len(head) > 8 else (0,)
    if 1 < header <= min(_MAX_HEADER_BYTES, size_bytes) and head[8:9] == b"{":
        return "a safetensors file: weights without a policy"
    return None
