"""Made the goldens of format 1; frozen, as they are.

    python tests/goldens/make_format_1.py FOLDER

They are files that users have: every later release must open them and find the same digests and values, whatever the
writer does by then. So this script documents how they came to be; its output is compared with the committed files as
long as the writer writes format 1, and afterwards it is kept unused. Needs no torch: the bytes are spelt out here.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

from mpt_format import (
    AliasRecord,
    ArchiveContent,
    BytesPayload,
    CodeRecord,
    ModuleRecord,
    ModuleState,
    StoredTensor,
    ViewRecord,
    write_archive,
)
from mpt_format.dtypes import BITS


def floats(*values: float) -> bytes:
    """Return little-endian float32."""
    return struct.pack(f"<{len(values)}f", *values)


def stored(dtype: str, shape: tuple[int, ...], data: bytes, **fields: Any) -> StoredTensor:
    """Return one tensor to store."""
    payload = BytesPayload(dtype=dtype, shape=shape, data=data)
    return StoredTensor(payload=payload, **{"kind": "parameter", **fields})


def minimal() -> ArchiveContent:
    """Weights alone: the least that an archive holds."""
    return ArchiveContent(state=ModuleState(tensors={"weight": stored("F32", (2, 2), floats(1, 2, 3, 4))}))


def nothing() -> ArchiveContent:
    """A policy without a tensor."""
    return ArchiveContent(
        state=ModuleState(tensors={}), architecture={"kind": "random", "schema_version": 1, "config": {}}
    )


def dtypes() -> ArchiveContent:
    """Every dtype of the format, with every byte pattern in turn; zero-element and 0-rank tensors."""
    tensors = {}
    for name, bits in BITS.items():
        count = 8 * 12 // bits
        data = (
            bytes(i % 2 for i in range(12))
            if name == "BOOL"
            else bytes((37 * i + 5) % 256 for i in range(count * bits // 8))
        )
        tensors[f"of.{name}"] = stored(name, (count,), data, kind="buffer")
    tensors["scalar"] = stored("F64", (), struct.pack("<d", 0.1))
    tensors["empty"] = stored("I64", (3, 0, 2), b"")
    tensors["naïve.\U0001f600"] = stored("U8", (1,), b"!")
    return ArchiveContent(state=ModuleState(tensors=tensors))


def everything() -> ArchiveContent:
    """Every member, every field of the manifest, every sort of alias."""
    tensors = {
        "body.weight": stored("F32", (2, 3), floats(0, 1, 2, 3, 4, 5)),
        "body.turned": stored("F32", (2, 3), floats(0, 1, 2, 3, 4, 5), kind="buffer", stride=(1, 2)),
        "body._extra_state": stored("U8", (2,), b"\x01\x02", kind="extra_state"),
        "storage/0": stored("F32", (6,), floats(9, 8, 7, 6, 5, 4), kind="storage"),
    }
    aliases = {
        "head.weight": AliasRecord(name="head.weight", canonical="body.weight", kind="parameter"),
        "body.column": AliasRecord(
            name="body.column",
            canonical="body.weight",
            kind="buffer",
            view=ViewRecord(dtype="F32", shape=(2,), stride=(3,), offset_bytes=4),
        ),
        "low": AliasRecord(
            name="low",
            canonical="storage/0",
            kind="buffer",
            view=ViewRecord(dtype="F32", shape=(2, 2), stride=(2, 1), offset_bytes=0),
        ),
        "high": AliasRecord(
            name="high",
            canonical="storage/0",
            kind="buffer",
            view=ViewRecord(dtype="I32", shape=(4,), stride=(1,), offset_bytes=8),
        ),
    }
    return ArchiveContent(
        state=ModuleState(
            tensors=tensors,
            aliases=aliases,
            modules={
                "": ModuleRecord(type="zoo.policy.Policy", version=1),
                "body": ModuleRecord(type="zoo.parts.Body", version=3),
                "head": ModuleRecord(type="zoo.parts.Head"),
            },
            extra_state={"head._extra_state": {"stage": "blending", "history": [["ä", 0.25], None, True, -7]}},
        ),
        architecture=(
            "# kept as written\nkind: mlp_actor_critic\nschema_version: 2\nconfig:\n  width: 3\n  rate: 3.0e-4\n"
        ),
        config_sources={"width": "author", "rate": "default"},
        game_rules={"features": [{"id": 0, "name": "energy", "scale": 255.0}], "actions": ["noop", "move"]},
        code=CodeRecord(
            distribution="model-zoo",
            version="0.1.0",
            wheel_sha256="ab" * 32,
            package="zoo",
            package_sha256="12" * 32,
            repository="https://example.org/zoo.git",
            commit="cd" * 20,
            branch="main",
            dirty=True,
            diff_member="source.diff",
        ),
        requires={"policy-interface": ">=1.0,<2", "python": ">=3.11"},
        environment={"python": "3.11.7", "torch": "2.15.0"},
        migration={"head": "0001"},
        witness={
            "observation": BytesPayload(dtype="F32", shape=(1, 2), data=floats(0.5, -0.5)),
            "logits": BytesPayload(dtype="F32", shape=(1, 2), data=floats(1, 0)),
        },
        witness_spec={"seed": 7, "steps": 1, "batch": 1, "tolerance": 0.0, "outputs": ["logits"]},
        training={"steps": 1000},
        lineage={"parent": "ef" * 32, "applied": ["0001"]},
        source_diff=b"diff --git a/x b/x\n\x00\xff",
        pylock='lock-version = "1.0"\n',
        training_document={"returns": [1.5, 2.5]},
        readme="# A golden\n",
        trainer_tensors={"adam": {"step": BytesPayload(dtype="I64", shape=(), data=struct.pack("<q", 12))}},
        trainer_documents={"adam": {"lr": 0.001}},
        created="2026-11-22T08:00:00+00:00",
    )


GOLDENS = {"minimal": minimal, "nothing": nothing, "dtypes": dtypes, "everything": everything}


def make(folder: Path) -> dict[str, dict[str, str]]:
    """Write every golden and return the digests by name."""
    digests = {}
    for name, content in GOLDENS.items():
        written = write_archive(folder / f"{name}.mpt", content())
        digests[name] = {
            "sha256": hashlib.sha256(written.path.read_bytes()).hexdigest(),
            "content_digest": written.content_digest,
        }
    return digests


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "digests.json").write_text(json.dumps(make(target), indent=2) + "\n")
