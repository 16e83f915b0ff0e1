"""The directory of a zip file, read as torch's reader and Python's reader see it, without unpacking.

Only the tail, the central directory and the local headers are read, so ten gigabytes of tensors cost nothing. Where two
readers would disagree about the file (repeated names, headers that contradict each other, members that overlap, NUL in
a name) the disagreement is a problem of the file, collected here and judged elsewhere. Nothing is repaired.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central header), 4.3.14 to 4.3.16 (end records),
4.5.3 (ZIP64 extra field).
"""

from __future__ import annotations

__all__ = ["DEFLATED", "STORED", "ZipDirectory", "ZipMember", "read_zip_directory", "unpack_member"]

import zlib
from collections import Counter
from dataclasses import dataclass, field
from struct import Struct

from ._limits import Limits
from ._mapped import read_range
from ._stream import Buffer
from ._zip_members import ZipMember, read_usual_members

STORED, DEFLATED = 0, 8
_END = Struct("<4s4H2LH")
_END64_LOCATOR = Struct("<4sLQL")
_END64 = Struct("<4sQ2H2L4Q")
_CENTRAL = Struct("<6x10s3L3H8xL")
"""Version to date as they stand in both headers, CRC, packed and unpacked size, three lengths, header offset."""
_FLAGS_AND_METHOD = Struct("<2x2H4x")
"""What matters of those first ten bytes."""
_LOCAL = Struct("<4s5H3L2H")
_NO_SIZES = bytes(12)
"""CRC, packed and unpacked size of a local header that leaves them to a data descriptor."""
_ENCRYPTED = 0x1
_DESCRIPTOR = 0x8
_UTF8_NAME = 0x800
_MAX_PROBLEMS = 20


@dataclass(slots=True, kw_only=True)
class ZipDirectory:
    """All members in directory order, and what is wrong with the file."""

    members: list[ZipMember] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Contradictions that make two readers see two files."""
    limit: str | None = None
    start: int = 0
    """Bytes before the first local header that the directory does not account for."""
    end: int = 0
    """Offset behind the end record and its comment."""

    def get_first(self, name: str) -> ZipMember | None:
        """The first member of that name, which is the one torch reads."""
        for member in self.members:
            if member.name == name:
                return member
        return None


def read_zip_directory(data: Buffer, limits: Limits, *, stop: int | None = None) -> ZipDirectory | None:
    """Read the directory of a zip that ends `data`, or that ends at `stop`; None when there is no end record."""
    whole = len(data) if stop is None else stop
    tail_start = max(0, whole - _END.size)
    tail = read_range(data, tail_start, whole)
    at = 0 if tail.startswith(b"PK\x05\x06") and tail.endswith(b"\0\0") else -1
    if at < 0:  # behind the end record stands a comment, or something that is no zip
        tail_start = max(0, whole - _END.size - 0xFFFF)
        tail = read_range(data, tail_start, whole)
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        return None
    directory = ZipDirectory()
    end_offset = tail_start + at
    _, disk, central_disk, _, count, central_size, central_offset, comment = _END.unpack_from(tail, at)
    directory.end = end_offset + _END.size + comment
    if directory.end > whole:
        directory.problems.append("the archive comment is longer than the file")
    if disk or central_disk:
        directory.problems.append("the archive is split over several disks")
    locator = end_offset - _END64_LOCATOR.size
    central_end = end_offset
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        end64 = _END64_LOCATOR.unpack_from(data, locator)[2]
        nearest = locator - _END64.size
        if end64 != nearest >= 0 and data[nearest : nearest + 4] == b"PK\x06\x06":
            end64 = nearest  # the archive stands behind other bytes: its own offsets count from where it begins
        if end64 + _END64.size > len(data) or data[end64 : end64 + 4] != b"PK\x06\x06":
            directory.problems.append("the ZIP64 end record is not where its locator says")
        else:
            _, _, _, _, _, _, _, count, central_size, central_offset = _END64.unpack_from(data, end64)
            central_end = end64
    if central_offset + central_size > central_end:
        directory.problems.append("the central directory reaches behind its end record")
        return directory
    directory.start = central_end - central_size - central_offset
    _read_central(data, central_offset + directory.start, central_size, count, limits, directory)
    return directory


def _read_central(data: Buffer, offset: int, size: int, count: int, limits: Limits, directory: ZipDirectory) -> None:
    central = read_range(data, offset, offset + size)
    usual = None if directory.start else read_usual_members(data, central, offset, limits.members)
    if usual is not None:
        directory.members = usual
    elif not _read_one_by_one(data, offset, central, limits, directory):
        return
    found = len(directory.members)
    if found != count & 0xFFFFFFFF and found & 0xFFFF != count:
        directory.problems.append(f"the end record counts {count} members, the directory holds {found}")


def _read_one_by_one(data: Buffer, offset: int, central: bytes, limits: Limits, directory: ZipDirectory) -> bool:
    """Read a directory in which anything may be unusual; whether it was read to its end."""
    members = directory.members
    problems = directory.problems
    add = members.append
    unpack = _CENTRAL.unpack_from
    at, end, start, whole = 0, len(central), directory.start, len(data)
    limit = limits.members
    furthest = 0
    in_order = True
    meanings: dict[bytes, tuple[int, int]] = {}
    while at < end:
        if len(members) >= limit:
            directory.limit = f"members: stopped after {limit}"
            return False
        name_at = at + _CENTRAL.size
        if name_at > end or not central.startswith(b"PK\x01\x02", at):
            problems.append(f"the central directory is broken at byte {offset + at}")
            return False
        common, crc, packed, unpacked, n_name, n_extra, n_comment, header = unpack(central, at)
        spelled = central[at + 6 : at + 30]  # the same bytes, up to the name's length, as a local header has them
        raw_name = central[name_at : name_at + n_name]
        at = name_at + n_name + n_extra + n_comment
        if at > end:
            problems.append("the central directory is cut off")
            return False
        if common not in meanings:
            meanings[common] = _FLAGS_AND_METHOD.unpack(common)
        flags, method = meanings[common]
        if flags & _DESCRIPTOR:  # as torch writes: the local header leaves CRC and sizes at zero
            spelled = common + _NO_SIZES + spelled[22:]
        name = raw_name.decode() if raw_name.isascii() else _decode_name(raw_name, flags)
        if packed == 0xFFFFFFFF or unpacked == 0xFFFFFFFF or header == 0xFFFFFFFF:
            extra = central[name_at + n_name : name_at + n_name + n_extra]
            unpacked, packed, header = _widen(extra, unpacked, packed, header)
        header += start
        local = read_range(data, header, header + 30 + n_name) if 0 <= header < whole else b""
        data_offset = -1
        if local.startswith(b"PK\x03\x04" + spelled) and len(local) == 30 + n_name and local.endswith(raw_name):
            data_offset = header + 30 + n_name + local[28] + (local[29] << 8)
        if data_offset < 0:
            data_offset = _check_local(data, header, raw_name, method, packed, unpacked, crc, flags, directory)
        if data_offset + packed > whole:
            problems.append(f"member {name[:80]!r} reaches behind the end of the file")
            data_offset = -1
        in_order = in_order and header >= furthest
        furthest = data_offset + packed
        add(ZipMember(name, method, flags, crc, packed, unpacked, header, data_offset))
        if len(problems) > _MAX_PROBLEMS:
            return False
    _check_names(directory)
    if not in_order or furthest > offset:
        _check_layout(directory, offset)
    return True


def _check_names(directory: ZipDirectory) -> None:
    """No name twice, no NUL in a name."""
    names = [member.name for member in directory.members]
    if len(set(names)) < len(names):
        for name in sorted({name for name, count in Counter(names).items() if count > 1})[:_MAX_PROBLEMS]:
            directory.problems.append(
                f"member {name[:80]!r} is there twice: torch reads the first, Python's zipfile the last"
            )
    if "\0" in "".join(names):
        name = next(name for name in names if "\0" in name)
        directory.problems.append(f"a NUL byte in the member name {name[:80]!r}")


def _decode_name(raw: bytes, flags: int) -> str:
    if flags & _UTF8_NAME:
        return raw.decode("utf-8", "backslashreplace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _widen(extra: bytes, unpacked: int, packed: int, header: int) -> tuple[int, int, int]:
    """Replace the 32-bit fields that say "see the ZIP64 extra field" by what it holds."""
    at = 0
    while at + 4 <= len(extra):
        kind = int.from_bytes(extra[at : at + 2], "little")
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == 1:
            values = [
                int.from_bytes(extra[i : i + 8], "little")
                for i in range(at + 4, min(at + 4 + length, len(extra)) - 7, 8)
            ]
            if unpacked == 0xFFFFFFFF and values:
                unpacked = values.pop(0)
            if packed == 0xFFFFFFFF and values:
                packed = values.pop(0)
            if header == 0xFFFFFFFF and values:
                header = values.pop(0)
            break
        at += 4 + length
    return unpacked, packed, header


def _check_local(
    data: Buffer,
    header: int,
    raw_name: bytes,
    method: int,
    packed: int,
    unpacked: int,
    crc: int,
    flags: int,
    directory: ZipDirectory,
) -> int:
    """Compare the local header with the central one and return where the member's bytes begin."""
    shown = raw_name[:80].decode("utf-8", "backslashreplace")
    if header < 0 or header + _LOCAL.size > len(data) or data[header : header + 4] != b"PK\x03\x04":
        directory.problems.append(f"member {shown!r} has no local header at byte {header}")
        return -1
    _, _, local_flags, local_method, _, _, local_crc, local_packed, local_size, n_name, n_extra = _LOCAL.unpack_from(
        data, header
    )
    name_at = header + _LOCAL.size
    data_offset = name_at + n_name + n_extra
    differing = []
    if data[name_at : name_at + n_name] != raw_name:
        differing.append("name")
    if local_method != method:
        differing.append("compression")
    if (local_flags ^ flags) & _ENCRYPTED:
        differing.append("encryption flag")
    if not local_flags & _DESCRIPTOR:
        if local_packed == 0xFFFFFFFF or local_size == 0xFFFFFFFF:
            extra = data[name_at + n_name : data_offset]
            local_size, local_packed, _ = _widen(extra, local_size, local_packed, 0)
        if (local_packed, local_size) != (packed, unpacked):
            differing.append("size")
        if local_crc != crc:
            differing.append("CRC")
    if differing:
        fields = ", ".join(differing)
        directory.problems.append(f"member {shown!r}: local and central header differ in {fields}: readers disagree")
    return int(data_offset)


def _check_layout(directory: ZipDirectory, central: int) -> None:
    """Members must not overlap each other or the directory."""
    spans = sorted(
        (member.header_offset, member.data_offset + member.packed_size_bytes, member.name)
        for member in directory.members
        if member.data_offset >= 0
    )
    previous_end, previous_name = 0, ""
    for begin, end, name in spans:
        if begin < previous_end:
            directory.problems.append(f"members {previous_name!r} and {name!r} overlap")
            break
        previous_end, previous_name = end, name
    if spans and spans[-1][1] > central:
        directory.problems.append(f"member {spans[-1][2]!r} overlaps the central directory")


def unpack_member(data: Buffer, member: ZipMember, limits: Limits) -> tuple[Buffer | None, str | None]:
    """The bytes of one member, or why they cannot be had: `(bytes, None)` or `(None, reason)`.

    A STORED member is a slice of the file. A DEFLATED one is unpacked up to `limits`; a wrong CRC is not looked at,
    because torch does not look at it either.
    """
    if member.data_offset < 0:
        return None, "its bytes are not in the file"
    if member.flags & _ENCRYPTED:
        return None, "it is encrypted"
    packed = read_range(data, member.data_offset, member.data_offset + member.packed_size_bytes)
    if member.method == STORED:
        if member.packed_size_bytes != member.size_bytes:
            return None, "its two sizes differ although it is stored"
        return packed, None
    if member.method != DEFLATED:
        return None, f"its compression method {member.method} is not supported"
    cap = min(limits.inflated_size_bytes, max(4096, member.packed_size_bytes * limits.inflate_ratio))
    unpacker = zlib.decompressobj(-15)
    try:
        unpacked = unpacker.decompress(packed, cap + 1)
    except zlib.error:
        return None, "its compressed bytes are broken"
    if len(unpacked) > cap:
        return None, f"limit: it unpacks to more than {cap} bytes"
    if len(unpacked) != member.size_bytes:
        return None, f"it unpacks to {len(unpacked)} bytes, {member.size_bytes} were announced"
    return unpacked, None
