"""The zip container, read strictly: members tile the file from its first byte to its directory.

One shape is accepted: local header, data, local header, data, ..., central directory, end record, nothing else.
Refused: anything before, between or after, compression, encryption, data descriptors, comments, several disks, names
that are not in the archive's own alphabet, twins, and every difference between a local header and its directory entry.
So two readers cannot see two different archives in one file, and nothing can be a bomb: stored bytes are the bytes.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local), 4.3.12 (directory), 4.3.14-16 (end records), 4.5.3 (ZIP64).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from mpt_format.byte_source import ByteSource
from mpt_format.errors import ArchiveProblem, CorruptArchiveError, UnsafeArchiveError
from mpt_format.format import ALIGNMENT_BYTES, MAX_MEMBERS, PADDING_EXTRA_ID, ZIP64_EXTRA_ID

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")

LOCAL_MAGIC = b"PK\x03\x04"
CENTRAL_MAGIC = b"PK\x01\x02"
END_MAGIC = b"PK\x05\x06"
END64_MAGIC = b"PK\x06\x06"
LOCATOR64_MAGIC = b"PK\x06\x07"

U32 = 0xFFFFFFFF
U16 = 0xFFFF
DOS_TIME = 0
DOS_DATE = 0x21  # 1980-01-01, the first day a zip can say
EXTERNAL_ATTRIBUTES = 0o100644 << 16  # a regular file, rw-r--r--
CREATED_BY = 3 << 8 | 45  # Unix, APPNOTE 4.5
VERSION_PLAIN = 20
VERSION_ZIP64 = 45

_NAME = re.compile(rb"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)?(\.[A-Za-z0-9]+){1,2}")
_MAX_DIRECTORY_BYTES = MAX_MEMBERS * 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """One stored file of the container.

    Attributes:
        name: its path in the archive.
        offset: first byte of its data in the file.
        size_bytes: bytes of data.
        crc32: the checksum that the directory claims.
    """

    name: str
    offset: int
    size_bytes: int
    crc32: int


def read_zip_layout(source: ByteSource) -> dict[str, ZipMember]:
    """Read and judge the container.

    Returns:
        The members by name, in file order.

    Raises:
        CorruptArchiveError: empty or cut off.
        UnsafeArchiveError: another structure than the one above; with every problem found.
    """
    start, size, count, end_of_directory = _read_end(source)
    if start + size != end_of_directory:
        raise _unsafe(source, "end record", f"the directory of {size} bytes at {start} does not end at the end record")
    directory = source.read_at(start, size)
    problems: list[ArchiveProblem] = []
    members: dict[str, ZipMember] = {}
    folded: set[str] = set()
    position = 0
    next_local = 0
    for index in range(count):
        if position + CENTRAL.size > size or directory[position : position + 4] != CENTRAL_MAGIC:
            raise _unsafe(source, f"directory entry {index}", "is not a directory entry")
        fields = CENTRAL.unpack_from(directory, position)
        name_bytes, extra_bytes, comment_bytes = fields[10], fields[11], fields[12]
        body = position + CENTRAL.size
        position = body + name_bytes + extra_bytes + comment_bytes
        if position > size:
            raise _unsafe(source, f"directory entry {index}", "runs past the directory")
        raw_name = directory[body : body + name_bytes]
        where = repr(raw_name)[1:][:80]
        entry = _Entry(
            where=where,
            fields=fields,
            raw_name=raw_name,
            extra=directory[body + name_bytes : body + name_bytes + extra_bytes],
        )
        found = entry.judge(problems)
        if found is None:
            continue
        offset, member = found
        if member.name.lower() in folded:
            problems.append(ArchiveProblem(where=where, message="stands twice in the directory (upper case aside)"))
        folded.add(member.name.lower())
        if offset != next_local:
            kind = "overlaps what is before it" if offset < next_local else "leaves bytes before it unused"
            problems.append(ArchiveProblem(where=where, message=f"begins at {offset}, not at {next_local}: {kind}"))
        data = _check_local(source, entry, offset, member, start, problems)
        if data is None:
            continue
        next_local = data + member.size_bytes
        members[member.name] = ZipMember(
            name=member.name, offset=data, size_bytes=member.size_bytes, crc32=member.crc32
        )
    if position != size:
        problems.append(ArchiveProblem(where="directory", message=f"has {size - position} bytes after its entries"))
    if not problems and next_local != start:
        problems.append(
            ArchiveProblem(where="directory", message=f"begins at {start}, the last member ends at {next_local}")
        )
    if problems:
        raise UnsafeArchiveError(source.name, problems)
    return members


def _read_end(source: ByteSource) -> tuple[int, int, int, int]:
    """Return start, size and entry count of the directory, and the position where it must end."""
    total = source.size_bytes
    if total == 0:
        raise CorruptArchiveError(source.name, [ArchiveProblem(where="file", message="is empty")])
    if total < END.size:
        raise CorruptArchiveError(source.name, [ArchiveProblem(where="file", message=f"has only {total} bytes")])
    tail_size = min(total, END.size + LOCATOR64.size + END64.size)
    tail = source.read_at(total - tail_size, tail_size)
    magic, disk, directory_disk, here, count, size, start, comment = END.unpack(tail[-END.size :])
    if magic != END_MAGIC:
        raise _no_end(source)
    if comment:
        raise _unsafe(source, "end record", "announces a comment")
    end = total - END.size
    if U16 in (here, count) or U32 in (size, start):
        if tail_size < END.size + LOCATOR64.size + END64.size:
            raise _unsafe(source, "end record", "announces ZIP64 records that are not there")
        locator = LOCATOR64.unpack(tail[END64.size : END64.size + LOCATOR64.size])
        end -= LOCATOR64.size + END64.size
        if locator[0] != LOCATOR64_MAGIC or locator[1] != 0 or locator[3] != 1 or locator[2] != end:
            raise _unsafe(source, "ZIP64 locator", "does not point at the ZIP64 end record before it")
        record = END64.unpack(tail[: END64.size])
        if record[:4] != (END64_MAGIC, END64.size - 12, CREATED_BY, VERSION_ZIP64):
            raise _unsafe(source, "ZIP64 end record", "is not the one of this format")
        wide = dict(zip(("disk", "directory_disk", "here", "count", "size", "start"), record[4:], strict=True))
        narrow = {"here": (here, U16), "count": (count, U16), "size": (size, U32), "start": (start, U32)}
        if any(value not in (limit, wide[key]) for key, (value, limit) in narrow.items()):
            raise _unsafe(source, "ZIP64 end record", "differs from the end record")
        disk, directory_disk = max(disk, wide["disk"]), max(directory_disk, wide["directory_disk"])
        here, count, size, start = wide["here"], wide["count"], wide["size"], wide["start"]
    if disk or directory_disk or here != count:
        raise _unsafe(source, "end record", "speaks of several disks")
    if count > MAX_MEMBERS or size > _MAX_DIRECTORY_BYTES:
        raise _unsafe(source, "end record", f"announces {count} members, at most {MAX_MEMBERS} are allowed")
    return start, size, count, end


def _no_end(source: ByteSource) -> CorruptArchiveError | UnsafeArchiveError:
    head = source.read_at(0, min(4, source.size_bytes))
    if head == LOCAL_MAGIC:
        message = "begins like an archive but does not end like one: cut off, or bytes were appended"
        return CorruptArchiveError(source.name, [ArchiveProblem(where="end of file", message=message)])
    return _unsafe(source, "file", f"is not a zip: it begins with {head!r}")


def _unsafe(source: ByteSource, where: str, message: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(source.name, [ArchiveProblem(where=where, message=message)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    where: str
    fields: tuple[int, ...]
    raw_name: bytes
    extra: bytes

    def judge(self, problems: list[ArchiveProblem]) -> tuple[int, ZipMember] | None:
        """Return the local header's position and the member as the directory tells them."""
        f = self.fields
        before = len(problems)

        def problem(message: str) -> None:
            problems.append(ArchiveProblem(where=self.where, message=message))

        if not _NAME.fullmatch(self.raw_name) or len(self.raw_name) > 160:
            problem("is not a name of the archive's alphabet (letters, digits, '_', one folder, a suffix)")
        if f[3] & ~0x0800:
            problem(f"has the flags {f[3]:#06x}: encrypted, streamed or patched data")
        if f[4] != 0:
            problem(f"is compressed (method {f[4]}); members are stored")
        if f[13]:
            problem("starts on another disk")
        if f[12]:
            problem("has a comment")
        if f[15] != EXTERNAL_ATTRIBUTES:
            problem(f"has the attributes {f[15]:#x}: a link, a folder or a special file")
        if (f[1], f[5], f[6], f[14]) != (CREATED_BY, DOS_TIME, DOS_DATE, 0):
            problem("has a creator, time or internal attributes other than the constants of this format")
        stored, size, offset = f[8], f[9], f[16]
        if f[2] != (VERSION_ZIP64 if U32 in (stored, size, offset) else VERSION_PLAIN):
            problem(f"asks for version {f[2]} of zip")
        wide = _zip64(self.extra, [size == U32, stored == U32, offset == U32])
        if wide is None:
            problem("has an extra field other than the ZIP64 one that its sizes ask for")
            return None
        values = iter(wide)
        size = next(values) if size == U32 else size
        stored = next(values) if stored == U32 else stored
        offset = next(values) if offset == U32 else offset
        if stored != size:
            problem(f"says {stored} stored bytes for {size} bytes of data")
        if len(problems) > before:
            return None
        name = self.raw_name.decode("ascii")
        return offset, ZipMember(name=name, offset=-1, size_bytes=size, crc32=f[7])


def padding_extra(position: int) -> bytes:
    """Return the extra field that, begun at a position of the file, ends at a multiple of the alignment."""
    body = struct.pack("<H", ALIGNMENT_BYTES)
    zeros = -(position + 4 + len(body)) % ALIGNMENT_BYTES
    return struct.pack("<2H", PADDING_EXTRA_ID, len(body) + zeros) + body + bytes(zeros)


def _zip64(extra: bytes, wanted: list[bool]) -> tuple[int, ...] | None:
    """Return the wide values when the extra field is exactly the one that is wanted, else None."""
    count = sum(wanted)
    if count == 0:
        return () if not extra else None
    if len(extra) != 4 + 8 * count:
        return None
    identifier, length, *values = struct.unpack(f"<2H{count}Q", extra)
    return tuple(values) if (identifier, length) == (ZIP64_EXTRA_ID, 8 * count) else None


def _check_local(
    source: ByteSource, entry: _Entry, offset: int, member: ZipMember, limit: int, problems: list[ArchiveProblem]
) -> int | None:
    """Compare the local header with the directory; return where the data start."""

    def problem(message: str) -> None:
        problems.append(ArchiveProblem(where=f"{entry.where} (local header)", message=message))

    if offset + LOCAL.size > limit:
        problem("lies outside the file")
        return None
    local = LOCAL.unpack(source.read_at(offset, LOCAL.size))
    data = offset + LOCAL.size + local[9] + local[10]
    if local[0] != LOCAL_MAGIC:
        problem("is not there")
        return None
    if data + member.size_bytes > limit:
        problem("announces data that run into the directory")
        return None
    tail = source.read_at(offset + LOCAL.size, local[9] + local[10])
    name, extra = tail[: local[9]], tail[local[9] :]
    f = entry.fields
    if name != entry.raw_name:
        problem(f"is named {name!r:.80}")
    if local[2:7] != (f[3], f[4], f[5], f[6], f[7]):
        problem("differs from the directory in flags, method, time or checksum")
    is_wide = member.size_bytes >= U32
    if local[1] != (VERSION_ZIP64 if is_wide else VERSION_PLAIN):
        problem(f"asks for version {local[1]} of zip")
    if (local[7], local[8]) != ((U32, U32) if is_wide else (member.size_bytes, member.size_bytes)):
        problem("differs from the directory in size")
    if is_wide:
        if extra[:20] != struct.pack("<2H2Q", ZIP64_EXTRA_ID, 16, member.size_bytes, member.size_bytes):
            problem("lacks the ZIP64 sizes")
        extra = extra[20:]
    is_tensors = member.name.endswith(".safetensors")
    if extra != (padding_extra(data - len(extra)) if is_tensors else b""):
        problem("has an extra field other than the padding of this format")
    return int(data)
