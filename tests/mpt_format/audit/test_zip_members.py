"""Members of a zip that are taken all together are those that are read one by one, in whatever file they stand."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format.audit import DEFAULT_LIMITS, Limits, _zip
from mpt_format.audit._mapped import MappedFile
from mpt_format.audit._stream import Buffer
from mpt_format.audit._zip import ZipDirectory, read_zip_directory
from mpt_format.audit._zip_members import ZipMember, read_usual_members

from tests.attacks.raw_zip import RawMember, RawZip

Told = tuple[list[ZipMember], list[str], str | None, int, int] | None


def tell(directory: ZipDirectory | None) -> Told:
    if directory is None:
        return None
    return directory.members, directory.problems, directory.limit, directory.start, directory.end


def read_one_by_one(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Told:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_zip, "read_usual_members", lambda *arguments: None)
        return tell(read_zip_directory(data, limits))


def read_together(data: bytes) -> list[ZipMember] | None:
    size, offset = struct.unpack_from("<2L", data, data.rindex(b"PK\x05\x06") + 12)
    return read_usual_members(data, data[offset : offset + size], offset, DEFAULT_LIMITS.members)


def raw_zip() -> RawZip:
    return RawZip.of({f"archive/data/{at}": bytes(at * 7) for at in range(6)})


def torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save({f"w{at}": torch.ones(at, 3) for at in range(12)}, stream)
    return stream.getvalue()


def python_file() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for at in range(5):
            archive.writestr(f"a/{at}", bytes(at * 100))
    return stream.getvalue()


SOUND = {"torch": torch_file, "python": python_file, "raw": lambda: raw_zip().build()}


@pytest.mark.parametrize("name", SOUND)
def test_ordinary_files_are_read_together_and_as_one_by_one(name: str) -> None:
    data = SOUND[name]()
    members = read_together(data)
    told = read_one_by_one(data)
    assert told is not None
    assert members == told[0]
    assert all(type(member) is ZipMember for member in members or ())
    assert tell(read_zip_directory(data, DEFAULT_LIMITS)) == told


def _set(place: str, **fields: object) -> Callable[[RawZip], None]:
    return lambda raw: getattr(raw.members[3], place).update(fields)


def _rename(name: bytes) -> Callable[[RawZip], None]:
    return lambda raw: setattr(raw.members[3], "name", name)


def _list_first_member_last(raw: RawZip) -> None:
    first = raw.members[0]
    first.in_directory = False
    raw.members.append(RawMember(first.name, first.data, in_file=False, offset=0))


UNUSUAL: dict[str, Callable[[RawZip], object]] = {
    "an extra field": _set("central", extra=b"\xca\xfe\x00\x00"),
    "a comment": _set("central", comment=b"hello"),
    "a size that needs ZIP64": _set("central", size=0xFFFFFFFF),
    "an offset that needs ZIP64": _set("central", offset=0xFFFFFFFF),
    "an offset behind the file": _set("central", offset=0xFFFFFF),
    "another size in the local header": _set("local", size=3),
    "another packed size in the local header": _set("local", stored=3),
    "another CRC in the local header": _set("local", crc=3),
    "another name in the local header": _set("local", name=b"archive/data/x"),
    "a longer name in the local header": _set("local", name=b"archive/data/33"),
    "another method in the local header": _set("local", method=8),
    "other flags in the local header": _set("local", flags=1),
    "another time in the local header": _set("local", time=1),
    "a name twice": _rename(b"archive/data/4"),
    "a NUL in a name": _rename(b"archive/\x00ata/3"),
    "a name that is no ASCII": _rename("archive/dätä/3".encode()),
    "a signature in a name": _rename(b"archive/PK\x01\x02" + b"q" * 46),
    "members out of order": _list_first_member_last,
    "members that overlap": _set("central", offset=0),
    "a member that reaches into the directory": lambda raw: raw.members[5].central.update(stored=400, size=400),
    "no member": lambda raw: raw.members.clear(),
    "bytes before the directory's first entry": lambda raw: raw.members.insert(
        0, RawMember(b"", b"", in_file=False, central={"name": b"x", "needed": 1})
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_whatever_is_unusual_is_left_to_the_reader_of_single_members(name: str) -> None:
    raw = raw_zip()
    UNUSUAL[name](raw)
    data = raw.build()
    assert read_together(data) is None
    assert tell(read_zip_directory(data, DEFAULT_LIMITS)) == read_one_by_one(data)


def test_an_archive_behind_other_bytes_is_read_one_by_one() -> None:
    data = b"PK\x03\x04" + bytes(8) + raw_zip().build()
    directory = read_zip_directory(data, DEFAULT_LIMITS)
    assert directory is not None
    assert (directory.start, len(directory.members)) == (12, 6)
    assert tell(directory) == read_one_by_one(data)


def test_sizes_of_a_member_with_a_data_descriptor_may_be_left_out_of_its_local_header() -> None:
    raw = raw_zip()
    raw.members[3].local |= {"flags": 8, "crc": 0, "stored": 0, "size": 0}
    raw.members[3].central |= {"flags": 8}
    told = read_one_by_one(raw.build())
    assert told is not None
    assert read_together(raw.build()) == told[0]
    raw.members[4].local |= {"crc": 0, "stored": 0, "size": 0}
    assert read_together(raw.build()) is None


def test_members_beyond_the_limit_are_not_read() -> None:
    limits = Limits(members=3)
    directory = read_zip_directory(raw_zip().build(), limits)
    assert directory is not None
    assert (len(directory.members), directory.limit is None) == (3, False)
    assert tell(directory) == read_one_by_one(raw_zip().build(), limits)


@pytest.mark.parametrize("padding", [0, 20_000])
def test_mapped_files_are_read_like_bytes(tmp_path: Path, padding: int) -> None:
    raw = raw_zip()
    raw.members[2].data = bytes(padding)
    path = tmp_path / "x.zip"
    path.write_bytes(raw.build())
    with path.open("rb") as file, MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        mapped.descriptor = file.fileno()
        assert tell(read_zip_directory(mapped, DEFAULT_LIMITS)) == read_one_by_one(path.read_bytes())


changes = st.lists(
    st.tuples(
        st.integers(0, 5000), st.one_of(st.binary(max_size=1), st.sampled_from([b"\xff" * 4, b"PK\1\2", bytes(4)]))
    ),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(SOUND)), changes=changes)
def test_a_damaged_file_is_told_as_if_its_members_were_read_one_by_one(
    name: str, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(SOUND[name]())
    for place, text in changes:
        at = place % len(data)
        data[-at - 1 : len(data) - at - 1 + len(text)] = text
    assert tell(read_zip_directory(bytes(data), DEFAULT_LIMITS)) == read_one_by_one(bytes(data))
