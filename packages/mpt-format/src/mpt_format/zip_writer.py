"""The zip container, written in one pass to a file that can be patched.

Sizes are known before a member is written, checksums and digests after; the few bytes that hold them are patched at the
end, so there are no data descriptors and the data are passed over once. Every byte is determined by the members: no
clock, no user, no platform.

Source: see `zip_layout`.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from mpt_format.disk import start_flush
from mpt_format.format import ZIP64_EXTRA_ID
from mpt_format.zip_layout import (
    CENTRAL,
    CENTRAL_MAGIC,
    CREATED_BY,
    DOS_DATE,
    DOS_TIME,
    END,
    END64,
    END64_MAGIC,
    END_MAGIC,
    EXTERNAL_ATTRIBUTES,
    LOCAL,
    LOCAL_MAGIC,
    LOCATOR64,
    LOCATOR64_MAGIC,
    U32,
    VERSION_PLAIN,
    VERSION_ZIP64,
    padding_extra,
)


@dataclass(slots=True, kw_only=True)
class _Written:
    name: bytes
    offset: int
    data_offset: int
    size_bytes: int
    crc32: int = 0


class ZipWriter:
    """Writes members one after the other to a file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._position = 0
        self._members: list[_Written] = []

    def begin_member(self, name: str, size_bytes: int) -> int:
        """Write a local header and return where the data begin; `write` them next, then `end_member`."""
        raw = name.encode("ascii")
        is_wide = size_bytes >= U32
        extra = struct.pack("<2H2Q", ZIP64_EXTRA_ID, 16, size_bytes, size_bytes) if is_wide else b""
        if name.endswith(".safetensors"):
            extra += padding_extra(self._position + LOCAL.size + len(raw) + len(extra))
        offset = self._position
        self.write(self._local(raw, extra, size_bytes, 0) + raw + extra)
        self._members.append(_Written(name=raw, offset=offset, data_offset=self._position, size_bytes=size_bytes))
        return self._position

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._position += written
            view = view[written:]

    def write_large(self, data: memoryview) -> None:
        """Append bytes that are worth starting on their way to the disk at once."""
        offset = self._position
        self.write(data)
        start_flush(self._fd, offset, len(data))

    def end_member(self, crc32: int) -> None:
        """Put the checksum of the member's data into its header."""
        member = self._members[-1]
        if self._position - member.data_offset != member.size_bytes:
            raise AssertionError(f"{member.name!r}: wrote another number of bytes than announced")
        self._patch_checksum(member, crc32)

    def replace_data(self, index: int, data: bytes, crc32: int) -> None:
        """Overwrite the data of an earlier member with as many other bytes."""
        member = self._members[index]
        if len(data) != member.size_bytes:
            raise AssertionError(f"{member.name!r}: is replaced by another number of bytes")
        _write_at(self._fd, data, member.data_offset)
        self._patch_checksum(member, crc32)

    def finish(self) -> int:
        """Write the directory and the end records; return the size of the file in bytes."""
        start = self._position
        for member in self._members:
            self.write(self._central(member))
        size, count = self._position - start, len(self._members)
        if start >= U32 or size >= U32:
            end = self._position
            self.write(
                END64.pack(END64_MAGIC, END64.size - 12, CREATED_BY, VERSION_ZIP64, 0, 0, count, count, size, start)
            )
            self.write(LOCATOR64.pack(LOCATOR64_MAGIC, 0, end, 1))
        self.write(END.pack(END_MAGIC, 0, 0, count, count, min(size, U32), min(start, U32), 0))
        return self._position

    def _patch_checksum(self, member: _Written, crc32: int) -> None:
        member.crc32 = crc32
        _write_at(self._fd, struct.pack("<L", crc32), member.offset + 14)  # APPNOTE 4.3.7: crc-32 at byte 14

    def _local(self, raw: bytes, extra: bytes, size_bytes: int, crc32: int) -> bytes:
        is_wide = size_bytes >= U32
        version = VERSION_ZIP64 if is_wide else VERSION_PLAIN
        size = U32 if is_wide else size_bytes
        return LOCAL.pack(LOCAL_MAGIC, version, 0, 0, DOS_TIME, DOS_DATE, crc32, size, size, len(raw), len(extra))

    def _central(self, member: _Written) -> bytes:
        is_wide, is_far = member.size_bytes >= U32, member.offset >= U32
        values = [member.size_bytes, member.size_bytes] if is_wide else []
        values += [member.offset] if is_far else []
        extra = struct.pack(f"<2H{len(values)}Q", ZIP64_EXTRA_ID, 8 * len(values), *values) if values else b""
        size = U32 if is_wide else member.size_bytes
        head = CENTRAL.pack(
            CENTRAL_MAGIC,
            CREATED_BY,
            VERSION_ZIP64 if values else VERSION_PLAIN,
            0,
            0,
            DOS_TIME,
            DOS_DATE,
            member.crc32,
            size,
            size,
            len(member.name),
            len(extra),
            0,
            0,
            0,
            EXTERNAL_ATTRIBUTES,
            U32 if is_far else member.offset,
        )
        return head + member.name + extra


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
