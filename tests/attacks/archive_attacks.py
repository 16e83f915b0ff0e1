"""The attacks on an archive: name -> the hostile bytes and the error that must refuse them.

    PYTHONPATH=. python -m tests.attacks.archive_attacks

prints what each one costs to refuse.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from mpt_format.archive import Archive
from mpt_format.byte_source import MemorySource
from mpt_format.errors import (
    CorruptArchiveError,
    MalformedDocumentError,
    ManifestError,
    MptError,
    UnsafeArchiveError,
    UnsupportedVersionError,
)

from tests.attacks.parser_targets import rebuild, small_archive
from tests.attacks.raw_zip import RawMember, RawZip

Attack = tuple[Callable[[], bytes], type[MptError]]
ATTACKS: dict[str, Attack] = {}
SOUND = small_archive()


def sound_members() -> dict[str, bytes]:
    with Archive(MemorySource(SOUND)) as archive:
        return {name: archive.read_member(name) for name in archive.members}


def sound_zip() -> RawZip:
    return RawZip.of(sound_members())


def _zip(name: str, change: Callable[[RawZip], object], error: type[MptError] = UnsafeArchiveError) -> None:
    def make() -> bytes:
        raw = sound_zip()
        change(raw)
        return raw.build()

    ATTACKS[f"zip: {name}"] = (make, error)


def _on(member: str, **changes: Any) -> Callable[[RawZip], object]:
    def change(raw: RawZip) -> None:
        for key, value in changes.items():
            setattr(raw.member(member), key, value)

    return change


def _add(name: bytes, data: bytes = b"x", **changes: Any) -> Callable[[RawZip], object]:
    return lambda raw: raw.members.insert(1, RawMember(name, data, **changes))


RULES, WEIGHTS, MANIFEST = "game_rules.json", "weights.safetensors", "manifest.json"

_zip("a member twice", lambda raw: raw.members.insert(3, raw.member(RULES)))
_zip("twins that differ in case", _add(b"Game_Rules.json"))
_zip("a name that climbs out", _add(b"../../etc/passwd.txt"))
_zip("an absolute name", _add(b"/etc/passwd.txt"))
_zip("a Windows path", _add(b"C:\\x.json"))
_zip("a NUL in a name", _add(b"game_rules.json\x00.exe"))
_zip("control characters in a name", _add(b"a\x1b[2J.json"))
_zip("a name in other letters", _add("gаme.json".encode()))  # noqa: RUF001 - a Cyrillic letter
_zip("an empty name", _add(b""))
_zip("a folder", _add(b"trainer/", b""))
_zip("a member outside the closed list", _add(b"run.py"))
_zip("a link", _on(RULES, central={"external": 0o120777 << 16}))
_zip("a device", _on(RULES, central={"external": 0o060644 << 16}))
_zip("another name in the local header", _on(RULES, local={"name": b"game_rulez.json"}))
_zip("another checksum in the local header", _on(RULES, local={"crc": 1}))
_zip("another size in the local header", _on(RULES, local={"size": 1}))
_zip("another method in the local header", _on(RULES, local={"method": 8}))
_zip("another time in the local header", _on(RULES, local={"time": 9}))
_zip("a time", _on(RULES, local={"time": 9}, central={"time": 9}))
_zip("made by another system", _on(RULES, central={"made": 20}))
_zip("a newer zip needed", _on(RULES, local={"needed": 63}, central={"needed": 63}))
_zip("encrypted", _on(RULES, local={"flags": 1}, central={"flags": 1}))
_zip("a data descriptor", _on(RULES, local={"flags": 8}, central={"flags": 8}))
_zip("patched data", _on(RULES, local={"flags": 32}, central={"flags": 32}))
_zip("a comment on a member", _on(RULES, central={"comment": b"hello"}))
_zip("an extra field in the directory", _on(RULES, central={"extra": b"\x55\x54\x00\x00"}))
_zip("an extra field in a local header", _on(RULES, local={"extra": b"\x55\x54\x00\x00"}))
_zip("bytes hidden in the padding", _on(WEIGHTS, local={"extra": struct.pack("<3H", 0xD935, 6, 4096) + b"evil"}))
_zip("unaligned weights", _on(WEIGHTS, local={"extra": b""}))
_zip("on another disk", _on(RULES, central={"disk": 1}))
_zip("stored bytes that differ from the size", _on(RULES, central={"stored": 1}))
_zip("ZIP64 sizes without the field", _on(RULES, central={"size": 0xFFFFFFFF, "stored": 0xFFFFFFFF}))
_zip(
    "ZIP64 sizes beyond the file",
    _on(
        RULES,
        central={
            "size": 0xFFFFFFFF,
            "stored": 0xFFFFFFFF,
            "extra": struct.pack("<2H2Q", 1, 16, 1 << 62, 1 << 62),
        },
    ),
)
_zip("two members in the same bytes", _on(RULES, offset=0))
_zip("a member that is not there", _on(RULES, offset=1 << 30))
_zip("a member inside another", lambda raw: setattr(raw.member(RULES), "offset", 100))
_zip("a member missing from the directory", _on(RULES, in_directory=False))
_zip("bytes between members", _on(RULES, before=b"#!/bin/sh\n"))
_zip("bytes after the last member", lambda raw: setattr(raw, "before_directory", b"evil"))
_zip("bytes after the directory", lambda raw: setattr(raw, "before_end", b"evil"))
_zip("bytes before the archive", lambda raw: setattr(raw, "prefix", b"#!/bin/sh\nrm -rf /\n"))
_zip("bytes after the archive", lambda raw: setattr(raw, "suffix", b"evil"), CorruptArchiveError)
_zip("a second archive behind", lambda raw: setattr(raw, "suffix", sound_zip().build()))
_zip("a comment", lambda raw: raw.__dict__.update(end={"comment": 4}, suffix=b"evil"), MptError)
_zip("an announced comment", lambda raw: setattr(raw, "end", {"comment": 4}))
_zip("65,535 members announced", lambda raw: setattr(raw, "end", {"here": 0xFFFF, "count": 0xFFFF}))
_zip("several disks", lambda raw: setattr(raw, "end", {"disk": 1}))
_zip("a directory elsewhere", lambda raw: setattr(raw, "end", {"start": 10}))
_zip("a directory of another size", lambda raw: setattr(raw, "end", {"size": 10}))
_zip("fewer members than entries", lambda raw: setattr(raw, "end", {"here": 2, "count": 2}))
_zip("no manifest", lambda raw: raw.members.remove(raw.member(MANIFEST)))
_zip("the manifest not first", lambda raw: raw.members.append(raw.members.pop(0)))
_zip("members out of order", lambda raw: raw.members.insert(1, raw.members.pop(3)))
_zip("a member that the manifest does not know", lambda raw: raw.members.insert(5, RawMember(b"training.json", b"{}")))
_zip("a member less than the manifest knows", lambda raw: raw.members.remove(raw.member(RULES)))
_zip("no members", lambda raw: raw.members.clear())


def _deflated(raw: RawZip) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b" " * (200 << 20)) + packer.flush()
    member = raw.member(RULES)
    member.data = bomb
    member.local = {"method": 8, "size": 200 << 20}
    member.central = {"method": 8, "size": 200 << 20}


_zip("a bomb: 200 MB in 200 kB", _deflated)

for _cut in (1, 21, 22, 100, len(SOUND) // 2, len(SOUND) - 1):
    ATTACKS[f"zip: cut off after {_cut} bytes"] = (lambda cut=_cut: SOUND[:cut], MptError)  # type: ignore[misc]
ATTACKS["zip: empty"] = (lambda: b"", CorruptArchiveError)
ATTACKS["zip: another file"] = (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), UnsafeArchiveError)
ATTACKS["zip: a pickle"] = (lambda: b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R." + bytes(30), UnsafeArchiveError)


def _document(name: str, member: str, data: bytes | Callable[[], bytes], error: type[MptError]) -> None:
    def make() -> bytes:
        return rebuild({**sound_members(), member: data if isinstance(data, bytes) else data()})

    ATTACKS[f"{member}: {name}"] = (make, error)


for _member in (RULES, "extra_state.json", MANIFEST):
    for _name, _text in {
        "not JSON": b"{]",
        "nothing": b"",
        "trailing bytes": b"{} {}",
        "a key twice": b'{"a": 1, "a": 2}',
        "a key twice, written in two ways": b'{"a": 1, "\\u0061": 2}',
        "a key twice, far down": b'{"x": [[{"a": 1, "b": 2, "a": 2}]]}',
        "NaN": b'{"a": NaN}',
        "Infinity": b'{"a": -Infinity}',
        "a number that overflows": b'{"a": 1e999}',
        "a huge integer": b'{"a": ' + b"9" * 5000 + b"}",
        "an integer beyond 64 bits": b'{"a": 99999999999999999999}',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "bytes that are not UTF-8": b'{"a": "\xff"}',
        "an unpaired surrogate": b'{"a": "\\ud800"}',
        "absurd nesting": b"[" * 100_000 + b"]" * 100_000,
        "nested objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "nesting beyond the limit": b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
        "a control character in a text": b'{"a": "\x01"}',
        "a comment": b"{} // x",
        "single quotes": b"{'a': 1}",
    }.items():
        _document(_name, _member, _text, MptError if _member == MANIFEST else MalformedDocumentError)
    _document("millions of empty objects", _member, lambda: b'{"a":[' + b"{}," * 5_000_000 + b"1]}", MptError)
    _document("millions of numbers", _member, lambda: b'{"a":[' + b"0," * 10_000_000 + b"1]}", MptError)
_document("a list", RULES, b"[]", ManifestError)

_HEAD = b"kind: mlp\nschema_version: 1\nconfig:\n"
for _name, _text in {
    "an anchor": _HEAD + b"  a: &x 1\n",
    "an alias": _HEAD + b"  a: &x [1]\n  b: *x\n",
    "billion laughs": b"a: &a [x,x]\n"
    + b"".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n".encode() for i in range(24)),
    "a merge key": _HEAD + b"  <<: {a: 1}\n",
    "a merge bomb": b"a: &a {x: 1}\nb: &b {<<: [*a, *a, *a]}\n",
    "a tag that makes an object": _HEAD + b"  a: !!python/object/apply:os.system [id]\n",
    "a harmless tag": _HEAD + b"  a: !!str 1\n",
    "a local tag": _HEAD + b"  a: !x 1\n",
    "a key twice": _HEAD + b"  a: 1\n  a: 2\n",
    "a key twice, quoted": _HEAD + b"  a: 1\n  'a': 2\n",
    "two documents": _HEAD + b"  a: 1\n---\nb: 2\n",
    "a directive": b"%YAML 1.1\n---\n" + _HEAD + b"  a: 1\n",
    "a timestamp": _HEAD + b"  a: 2020-01-01\n",
    "binary": _HEAD + b"  a: !!binary aGk=\n",
    "a number in base 60": _HEAD + b"  a: 12:30:45\n",
    "an octal number": _HEAD + b"  a: 0777\n",
    "a huge integer": _HEAD + b"  a: " + b"9" * 5000 + b"\n",
    "a number that overflows": _HEAD + b"  a: 1.0e+999\n",
    "a key that is a number": _HEAD + b"  1: a\n",
    "a key that is a list": _HEAD + b"  ? [a]\n  : 1\n",
    "absurd nesting": b"a: " + b"[" * 50_000,
    "absurd nesting in block style": b"\n".join(b" " * i + b"a:" for i in range(900)),
    "too many nodes": _HEAD + b"  a: [" + b"0," * 200_000 + b"]\n",
    "too many bytes": _HEAD + b"  a: '" + b"x" * (2 << 20) + b"'\n",
    "bytes that are not UTF-8": _HEAD + b"  a: '\xff'\n",
    "UTF-16": (_HEAD + b"  a: 1\n").decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + _HEAD + b"  a: 1\n",
    "a control character": _HEAD + b"  a: '\x1b[2J'\n",
    "an escaped NUL in a key": _HEAD + b'  "a\\0": &x 1\n',
    "nothing": b"",
    "only a comment": b"# nothing\n",
    "not YAML": b"a: [1, 2\nb: }",
}.items():
    _document(_name, "policy_architecture.yaml", _text, MalformedDocumentError)
for _name, _text in {
    "a list": b"- 1\n",
    "another kind than the manifest": b"kind: evil\nschema_version: 1\nconfig: {}\n",
    "another schema version": b"kind: mlp\nschema_version: 2\nconfig: {}\n",
    "a schema version of another type": b"kind: mlp\nschema_version: true\nconfig: {}\n",
    "no config": b"kind: mlp\nschema_version: 1\n",
}.items():
    _document(_name, "policy_architecture.yaml", _text, ManifestError)


def _manifest(name: str, change: Callable[[Any], object], error: type[MptError] = ManifestError) -> None:
    def make() -> bytes:
        document = json.loads(sound_members()[MANIFEST])
        change(document)
        return rebuild({**sound_members(), MANIFEST: json.dumps(document).encode()})

    ATTACKS[f"manifest: {name}"] = (make, error)


def _tensor(**fields: Any) -> Callable[[Any], object]:
    return lambda d: d["tensors"]["body.weight"].update(fields)


def _view(**fields: Any) -> Callable[[Any], object]:
    return lambda d: d["aliases"]["head.row"]["view"].update(fields)


_manifest("a newer reader needed", lambda d: d.update(format=2, min_reader=2), UnsupportedVersionError)
_manifest("a reader above the format", lambda d: d.update(format=1, min_reader=7), UnsupportedVersionError)
_manifest("a format that is no number", lambda d: d.update(format="1"))
_manifest("a format that is true", lambda d: d.update(format=True))
_manifest("no format", lambda d: d.pop("format"))
_manifest("an unknown field", lambda d: d.update(run="import os"))
_manifest("an unknown field of a tensor", _tensor(cls="os.system"))
_manifest("tensors as a list", lambda d: d.update(tensors=[]))
_manifest("no tensors", lambda d: d.update(tensors={}, aliases={}), UnsafeArchiveError)
_manifest("an unknown dtype", _tensor(dtype="PICKLE"))
_manifest("a negative length", _tensor(shape=[-1, 3]))
_manifest("a length that is true", _tensor(shape=[True, 3]))
_manifest("a length beyond 63 bits", _tensor(shape=[1 << 63]))
_manifest("a shape whose size overflows", _tensor(shape=[1 << 40, 1 << 40]), MptError)
_manifest("a shape of many dimensions", _tensor(shape=[1] * 100))
_manifest("another shape than the header", _tensor(shape=[3, 2]), CorruptArchiveError)
_manifest("another dtype than the header", _tensor(dtype="I32"), CorruptArchiveError)
_manifest("a tensor more", lambda d: d["tensors"].update(extra=d["tensors"]["body.weight"]), CorruptArchiveError)
_manifest("another kind", _tensor(kind="code"))
_manifest("a digest that is no digest", _tensor(sha256="0" * 63))
_manifest("a wrong digest", _tensor(sha256="0" * 64), CorruptArchiveError)
_manifest("a stride that leaves gaps", lambda d: d["tensors"]["body.turned"].update(stride=[1, 1 << 40]))
_manifest("a stride of another rank", lambda d: d["tensors"]["body.turned"].update(stride=[1]))
_manifest("a view beyond its tensor", _view(offset_bytes=16))
_manifest("a view far beyond its tensor", _view(shape=[1 << 40]))
_manifest("a view with a stride that overflows", _view(stride=[1 << 62], shape=[1 << 62]))
_manifest("a view at a broken offset", _view(offset_bytes=1))
_manifest("a view of a sub-byte type", _view(dtype="F4"))
_manifest("a view of a tensor with strides", lambda d: d["aliases"]["head.row"].update(canonical="body.turned"))
_manifest("a view of another rank", _view(stride=[1, 1]))
_manifest("an alias of nothing", lambda d: d["aliases"]["head.row"].update(canonical="nothing"))
_manifest("an alias of an alias", lambda d: d["aliases"]["head.row"].update(canonical="head.weight"))
_manifest("an alias over a tensor", lambda d: d["aliases"].update({"body.weight": d["aliases"]["head.weight"]}))
_manifest("a control character in a tensor's name", lambda d: d["tensors"].update({"a\x1b[2J": {}}))
_manifest("a very long name", lambda d: d["tensors"].update({"a" * 5000: {}}))
_manifest("a control character in a text", lambda d: d["code"].update(version="1\x1b[2J"))
_manifest("a member's size", lambda d: d["members"][WEIGHTS].update(size_bytes=1), UnsafeArchiveError)
_manifest("a member that climbs out", lambda d: d["members"].update({"../x": {"size_bytes": 1, "sha256": "0" * 64}}),
          UnsafeArchiveError)  # fmt: skip
_manifest("a difference that is not there", lambda d: d["code"].update(diff_member="pylock.toml"), UnsafeArchiveError)
_manifest("a witness that is not there", lambda d: d.update(witness=None), UnsafeArchiveError)
_manifest("an architecture that is not there", lambda d: d.update(architecture=None), UnsafeArchiveError)
_manifest("a source that is neither", lambda d: d["architecture"]["config_sources"].update(width="nobody"))
_manifest("an infinite number", lambda d: d.update(training={"loss": float("inf")}), MalformedDocumentError)


def _digest(name: str, member: str, error: type[MptError] = CorruptArchiveError) -> None:
    def make() -> bytes:
        members = sound_members()
        data = bytearray(members[member])
        data[-1] ^= 1
        return RawZip.of({**members, member: bytes(data)}).build()

    ATTACKS[f"digest: {name}"] = (make, error)


for _member in ("policy_architecture.yaml", RULES, "extra_state.json", "source.diff", "witness.safetensors",
                "trainer/adam.json", "trainer/adam.safetensors", WEIGHTS):  # fmt: skip
    _digest(f"one bit of {_member}", _member)


def _flip_checksum() -> bytes:
    raw = sound_zip()
    raw.member(WEIGHTS).local = {"crc": 5}
    raw.member(WEIGHTS).central = {"crc": 5}
    return raw.build()


ATTACKS["digest: a wrong checksum"] = (_flip_checksum, CorruptArchiveError)

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def _header(name: str, text: bytes | dict[str, Any], buffer: bytes = bytes(8), length: int | None = None) -> None:
    """Attack the header of a member that the manifest only knows by digest, and of the weights."""
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    data = struct.pack("<Q", len(raw) if length is None else length) + raw + buffer

    def make_trainer() -> bytes:
        members = sound_members()
        members["trainer/adam.safetensors"] = data
        return rebuild(members)

    def make_weights() -> bytes:
        members = sound_members()
        document = json.loads(members[MANIFEST])
        document["members"][WEIGHTS]["size_bytes"] = len(data)
        members.update({MANIFEST: json.dumps(document).encode(), WEIGHTS: data})
        return RawZip.of(members).build()

    ATTACKS[f"header: {name}"] = (make_trainer, MalformedDocumentError)
    ATTACKS[f"header of the weights: {name}"] = (make_weights, MptError)


_header("too short", b"", b"", 0)
_header("longer than the member", {"a": _F32}, length=1 << 40)
_header("a length that overflows", {"a": _F32}, length=(1 << 64) - 1)
_header("not an object", b"[]" + b" " * 6)
_header("begins with a space", b" " + json.dumps({"a": _F32}).encode())
_header("a name twice", b'{"a":%s,"a":%s}' % (json.dumps(_F32).encode(), json.dumps(_F32).encode()))
_header("two tensors in the same bytes", {"a": _F32, "b": _F32})
_header("overlapping tensors", {"a": _F32, "b": {**_F32, "data_offsets": [4, 12]}}, bytes(12))
_header("a hole", {"a": _F32, "b": {**_F32, "data_offsets": [12, 20]}}, bytes(20))
_header("bytes that no tensor covers", {"a": _F32}, bytes(9))
_header("beyond the buffer", {"a": {**_F32, "shape": [4], "data_offsets": [0, 16]}})
_header("offsets backwards", {"a": {**_F32, "data_offsets": [8, 0]}})
_header("negative offsets", {"a": {**_F32, "data_offsets": [-8, 0]}})
_header("offsets that overflow", {"a": {**_F32, "data_offsets": [(1 << 64) - 8, 1 << 64]}})
_header("a shape that overflows", {"a": {**_F32, "shape": [1 << 32, 1 << 32]}})
_header("a shape that overflows to the right size", {"a": {**_F32, "shape": [(1 << 62) + 1, 2]}})
_header("a size of other bytes", {"a": {**_F32, "shape": [3]}})
_header("a broken sub-byte size", {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2))
_header("an unknown dtype", {"a": {**_F32, "dtype": "F128"}})
_header("a dtype that is no text", {"a": {**_F32, "dtype": ["F32"]}})
_header("a field more", {"a": {**_F32, "run": "x"}})
_header("a field less", {"a": {"dtype": "F32", "shape": [2]}})
_header("metadata that is no text", {"__metadata__": {"a": 1}, "a": _F32})
_header("floats for lengths", {"a": {**_F32, "shape": [2.0]}})
_header("nested beyond reason", b'{"a":' + b"[" * 50_000)


def _swapped() -> bytes:
    """Exchange two tensors of one shape in the header of the weights: other readers would see other weights."""
    members = sound_members()
    text = members[WEIGHTS]
    swapped = text.replace(b'"body.turned"', b'"body.xxxxxx"').replace(b'"body.weight"', b'"body.turned"')
    return RawZip.of({**members, WEIGHTS: swapped.replace(b'"body.xxxxxx"', b'"body.weight"')}).build()


ATTACKS["header of the weights: two tensors exchanged"] = (_swapped, CorruptArchiveError)


def check_all(data: bytes) -> None:
    """Do everything that a reader does."""
    with Archive(MemorySource(data)) as archive:
        archive.verify("full")


def _measure() -> None:
    import resource
    import time

    slowest = 0.0
    for name, (make, error) in ATTACKS.items():
        data = make()
        digest = hashlib.sha256(data).hexdigest()[:8]
        began = time.perf_counter()
        try:
            check_all(data)
            verdict = "ACCEPTED"
        except MptError as refusal:
            verdict = type(refusal).__name__ if isinstance(refusal, error) else f"WRONG {type(refusal).__name__}"
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        print(f"{seconds * 1000:8.1f} ms  {len(data):>11,} bytes  {digest}  {verdict:24}  {name}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(ATTACKS)} attacks, slowest {slowest * 1000:.0f} ms, peak memory of the process {peak:.0f} MiB")


if __name__ == "__main__":
    _measure()
