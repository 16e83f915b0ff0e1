"""Every hostile archive is refused with its error, and nothing but our errors comes out of a damaged one."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format import ArchiveNotFoundError, MptError, UnsupportedVersionError, open_archive
from mpt_format.archive import Archive
from mpt_format.byte_source import MemorySource

from tests.attacks import parser_targets
from tests.attacks.archive_attacks import ATTACKS, SOUND, check_all, sound_members, sound_zip

HANG_S = 30  # not a measure of speed: a reader that waits on a pipe or on a bomb would never come back


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def give_up(signum: int, frame: object) -> None:
        raise AssertionError("the reader hangs")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def test_the_archive_under_attack_is_sound() -> None:
    check_all(SOUND)


def test_a_zip_written_by_hand_is_the_archive_under_attack() -> None:
    assert sound_zip().build() == SOUND


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_archive_is_refused(name: str) -> None:
    make, error = ATTACKS[name]
    with pytest.raises(error) as caught:
        check_all(make())
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in ATTACKS if "yaml" in name])
def test_hostile_yaml_is_refused_without_libyaml_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    make, error = ATTACKS[name]
    with pytest.raises(error):
        check_all(make())


@pytest.mark.parametrize(
    "kind", ["pipe", "folder", "zero", "null", "socket", "loop", "dangling", "nul", "link to zero"]
)
def test_what_is_no_regular_file_is_refused_without_waiting(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mpt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "zero":
        path = Path("/dev/zero")
    elif kind == "null":
        path = Path("/dev/null")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "link to zero":
        path.symlink_to("/dev/zero")
    else:
        path = Path("a\x00b")
    with pytest.raises(ArchiveNotFoundError) as caught:
        open_archive(path)
    assert isinstance(caught.value, FileNotFoundError)


def test_link_to_an_archive_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(SOUND)
    (tmp_path / "run.mpt").symlink_to(tmp_path / "blob")
    with open_archive(tmp_path / "run.mpt") as archive:
        archive.verify("full")


def test_newer_revision_keeps_unknown_fields_and_members() -> None:
    members = sound_members()
    manifest = json.loads(members["manifest.json"])
    manifest.update(revision=7, future={"a": [1]})
    manifest["tensors"]["body.weight"]["quantile"] = 0.5
    members = {**members, "manifest.json": json.dumps(manifest).encode(), "notes.toml": b"x"}
    members["weights.safetensors"] = members.pop("weights.safetensors")
    manifest["members"] = {"notes.toml": {"size_bytes": 1, "sha256": "0" * 64}, **manifest["members"]}
    data = parser_targets.rebuild({**members, "manifest.json": json.dumps(manifest).encode()})
    with Archive(MemorySource(data)) as archive:
        archive.verify("full")
        assert archive.manifest.extra == {"future": {"a": [1]}}
        assert archive.tensors["body.weight"].extra == {"quantile": 0.5}
        assert archive.manifest.to_document()["future"] == {"a": [1]}
        assert archive.read_member("notes.toml") == b"x"


def test_newer_format_is_unsupported_and_not_corrupt() -> None:
    make, _ = ATTACKS["manifest: a newer reader needed"]
    with pytest.raises(UnsupportedVersionError) as caught:
        check_all(make())
    assert (caught.value.needed, caught.value.supported) == (2, 1)


@pytest.mark.parametrize("name", sorted(set(parser_targets.TARGETS) - {"members"}))
def test_parsers_survive_random_damage(name: str) -> None:
    source = random.Random(name)
    for seed in parser_targets.seeds(name):
        for _ in range(150):
            data = bytearray(seed)
            for _ in range(source.randint(1, 4)):
                place = source.randrange(len(data) + 1)
                match source.randrange(4):
                    case 0 if data:
                        data[place % len(data)] = source.randrange(256)
                    case 1:
                        data[place:place] = source.choice(
                            [b"\x00", b"{", b'"', b"[", b"9" * 30, b"\xff", b"PK\x03\x04"]
                        )
                    case 2:
                        del data[place : place + source.randint(1, 20)]
                    case _:
                        data[place : place + 4] = struct.pack("<L", source.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]))
            parser_targets.run_target(name, bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_parsers_survive_any_bytes(data: bytes) -> None:
    for name in parser_targets.TARGETS:
        parser_targets.run_target(name, data)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_no_flipped_byte_goes_unseen(place: int, flip: int) -> None:
    data = bytearray(SOUND)
    data[place] ^= flip
    with pytest.raises(MptError):
        check_all(bytes(data))
