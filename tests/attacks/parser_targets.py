"""One function per parser of the format, for fuzzers: whatever the bytes are, only MptError may come out.

Used by `fuzz_parsers.py` (coverage-guided, minutes to hours) and by `test_parsers_survive_mutations.py` (CI, seconds).
Imports neither torch nor a fuzzer.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mpt_format.archive import Archive
from mpt_format.byte_source import MemorySource
from mpt_format.content import ArchiveContent
from mpt_format.digesting import crc32_of
from mpt_format.errors import MptError
from mpt_format.manifest import parse_manifest
from mpt_format.module_state import ModuleState, StoredTensor
from mpt_format.payload import BytesPayload
from mpt_format.records import AliasRecord, CodeRecord, ModuleRecord, ViewRecord
from mpt_format.strict_json import format_json, parse_json, validate_json
from mpt_format.strict_yaml import parse_yaml
from mpt_format.tensor_header import parse_header_length, parse_tensor_header
from mpt_format.writer import write_archive
from mpt_format.zip_writer import ZipWriter


def small_archive() -> bytes:
    """Return an archive that uses every feature in a few kilobytes."""
    weights = BytesPayload(dtype="F32", shape=(2, 3), data=bytes(range(24)))
    content = ArchiveContent(
        state=ModuleState(
            tensors={
                "body.weight": StoredTensor(payload=weights, kind="parameter"),
                "body.scale": StoredTensor(
                    payload=BytesPayload(dtype="F4", shape=(4,), data=b"\x12\x34"), kind="buffer"
                ),
                "body.turned": StoredTensor(payload=weights, kind="buffer", stride=(1, 2)),
            },
            aliases={
                "head.weight": AliasRecord(name="head.weight", canonical="body.weight", kind="parameter"),
                "head.row": AliasRecord(
                    name="head.row",
                    canonical="body.weight",
                    kind="buffer",
                    view=ViewRecord(dtype="F32", shape=(3,), stride=(1,), offset_bytes=12),
                ),
            },
            modules={"": ModuleRecord(type="m.Policy", version=1), "body": ModuleRecord(type="m.Body", version=2)},
            extra_state={"body._extra_state": {"stage": ["blending", 1, 0.5, None]}},
        ),
        architecture={"kind": "mlp", "schema_version": 1, "config": {"width": 3, "rate": 0.5, "names": ["a", "b"]}},
        config_sources={"width": "author", "rate": "default"},
        game_rules={"features": [{"name": "x", "id": 0}]},
        code=CodeRecord(distribution="model-zoo", version="1.0", wheel_sha256="0" * 64, diff_member="source.diff"),
        requires={"policy_interface": ">=1,<2"},
        environment={"python": "3.11"},
        witness={"observation": BytesPayload(dtype="U8", shape=(2,), data=b"ab")},
        witness_spec={"seed": 1},
        source_diff=b"diff --git",
        trainer_tensors={"adam": {"step": BytesPayload(dtype="I64", shape=(), data=bytes(8))}},
        trainer_documents={"adam": {"lr": 0.1}},
    )
    with tempfile.TemporaryDirectory() as folder:
        return write_archive(Path(folder) / "small.mpt", content).path.read_bytes()


def fuzz_json(data: bytes) -> None:
    value = parse_json(data, subject="x.json")
    assert not list(validate_json(value, where="x"))
    assert parse_json(format_json(value), subject="x.json") == value


def fuzz_yaml(data: bytes) -> None:
    parse_yaml(data, subject="x.yaml")


def fuzz_header(data: bytes) -> None:
    length = parse_header_length(data[:8], member_bytes=len(data), subject="x")
    slots = parse_tensor_header(data[8 : 8 + length], buffer_bytes=len(data) - 8 - length, subject="x")
    assert sum(slot.stop - slot.start for slot in slots.values()) == len(data) - 8 - length


def fuzz_manifest(data: bytes) -> None:
    manifest = parse_manifest(data)
    assert parse_manifest(manifest.to_json()) == manifest


def fuzz_archive(data: bytes) -> None:
    with Archive(MemorySource(data)) as archive:
        archive.verify("full")
        for name in archive.tensors:
            archive.read_tensor_bytes(name)


_SMALL = small_archive()


def fuzz_members(data: bytes) -> None:
    """Put the bytes in the place of the manifest and of the small documents, in a container that is well made."""
    with Archive(MemorySource(_SMALL)) as archive:
        members = {name: archive.read_member(name) for name in archive.members}
    pick = data[0] % 4 if data else 0
    target = ("manifest.json", "policy_architecture.yaml", "extra_state.json", "game_rules.json")[pick]
    members[target] = data[1:]
    fuzz_archive(rebuild(members))


def rebuild(members: dict[str, bytes]) -> bytes:
    """Return a well-made container of the given members, with the manifest's sizes and digests made to fit."""
    import hashlib

    try:
        manifest = json.loads(members["manifest.json"])
        for name, entry in manifest["members"].items():
            if name in members and "sha256" in entry:
                entry.update(size_bytes=len(members[name]), sha256=hashlib.sha256(members[name]).hexdigest())
        members = {**members, "manifest.json": json.dumps(manifest).encode()}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        pass
    with tempfile.TemporaryFile(buffering=0) as file:
        writer = ZipWriter(file.fileno())
        for name, data in members.items():
            writer.begin_member(name, len(data))
            writer.write(data)
            writer.end_member(crc32_of(data))
        size = writer.finish()
        return os.pread(file.fileno(), size, 0)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "json": fuzz_json,
    "yaml": fuzz_yaml,
    "header": fuzz_header,
    "manifest": fuzz_manifest,
    "archive": fuzz_archive,
    "members": fuzz_members,
}


def run_target(name: str, data: bytes) -> bool:
    """Run one parser; return whether it accepted the bytes. Anything but MptError is a defect and comes out."""
    try:
        TARGETS[name](data)
    except MptError:
        return False
    return True


def seeds(name: str) -> list[bytes]:
    """Return well-formed input for one parser."""
    with Archive(MemorySource(_SMALL)) as archive:
        manifest = archive.read_member("manifest.json")
        weights = archive.read_member("weights.safetensors")
        yaml_text = archive.read_member("policy_architecture.yaml")
    return {
        "json": [manifest, b'{"a":[1,2.5,null,true,"\\u00e4"]}', b"[]"],
        "yaml": [yaml_text, b"a: [1, 0x1f, .inf, ~]\nb: {c: 'd'}\n", b"- &x 1\n- *x\n", b"<<: {a: 1}\n"],
        "header": [weights],
        "manifest": [manifest],
        "archive": [_SMALL],
        "members": [b"\x00" + manifest, b"\x01" + yaml_text, b"\x02{}", b"\x03{}"],
    }[name]
