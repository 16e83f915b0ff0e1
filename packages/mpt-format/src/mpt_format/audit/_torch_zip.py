"""What torch's reader of zip archives asks for before it looks at the pickle: a folder, and a version that it knows.

Source: `caffe2/serialize/inline_container.cc` (`PyTorchStreamReader::init`), `versions.h`, miniz's length of names.
"""

from __future__ import annotations

__all__ = ["find_layout_refusal"]

import re

from ._limits import Limits
from ._stream import Buffer
from ._zip import ZipDirectory, unpack_member

_LONGEST_FOLDER = 511
"""Bytes of the folder's name with its slash: longer names of files are cut off there."""
_VERSIONS = range(1, 11)
_VERSION_BYTES = 64
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]{1,18})")


def find_layout_refusal(data: Buffer, directory: ZipDirectory, prefix: str, limits: Limits) -> str | None:
    """Why every torch version refuses an archive with `data.pkl` whatever is in it; None where it does not."""
    if not prefix or len(prefix.encode("utf-8", "replace")) > _LONGEST_FOLDER:
        return f"file in archive is not in a subdirectory: {directory.members[0].name[:40]}"
    member = directory.get_first(f"{prefix}.data/version") or directory.get_first(f"{prefix}version")
    if member is None:
        return 'Expected hasRecord("version") to be true, but got false.'
    content = unpack_member(data, member, limits)[0] if member.size_bytes <= _VERSION_BYTES else None
    number = _NUMBER.match(bytes(content[:])) if content is not None else None
    if number is None:
        return "Couldn't parse the version as Long Long."
    if int(number[1]) not in _VERSIONS:
        return f"Attempted to read a PyTorch file with version {int(number[1])}, which it does not support."
    return None
