"""A zip written by hand, with every field open to abuse; shares nothing with the writer under test.

`RawZip(members).build()` gives what a well-behaved writer would; each attack changes one thing. Field names follow
APPNOTE 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RawMember:
    """One member; `local` and `central` override single fields of its two headers."""

    name: bytes
    data: bytes
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    before: bytes = b""  # bytes between the previous member and this one
    after: bytes = b""  # bytes after its data
    in_directory: bool = True
    in_file: bool = True
    offset: int | None = None  # what the directory claims
    padding: int | None = None  # alignment; None follows the name


@dataclass
class RawZip:
    """A container; `end` overrides fields of the end record."""

    members: list[RawMember]
    prefix: bytes = b""
    before_directory: bytes = b""
    before_end: bytes = b""
    suffix: bytes = b""
    end: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, members: Mapping[str, bytes]) -> RawZip:
        return cls([RawMember(name.encode(), data) for name, data in members.items()])

    def member(self, name: str) -> RawMember:
        return next(member for member in self.members if member.name == name.encode())

    def build(self) -> bytes:
        out = bytearray(self.prefix)
        directory = bytearray()
        for member in self.members:
            out += member.before
            offset = len(out)
            fields: dict[str, Any] = {
                "needed": 20,
                "flags": 0,
                "method": 0,
                "time": 0,
                "date": 0x21,
                "crc": zlib.crc32(member.data),
                "stored": len(member.data),
                "size": len(member.data),
                "name": member.name,
                "extra": b"",
            }
            if member.in_file:
                local = {**fields, **member.local}
                if member.name.endswith(b".safetensors") and "extra" not in member.local:
                    zeros = -(len(out) + 30 + len(local["name"]) + 6) % 4096
                    local["extra"] = struct.pack("<3H", 0xD935, 2 + zeros, 4096) + bytes(zeros)
                out += struct.pack(
                    "<4s5H3L2H",
                    b"PK\x03\x04",
                    *(local[key] for key in ("needed", "flags", "method", "time", "date", "crc", "stored", "size")),
                    len(local["name"]),
                    len(local["extra"]),
                )
                out += local["name"] + local["extra"] + member.data + member.after
            if member.in_directory:
                central = {
                    **fields,
                    "made": 3 << 8 | 45,
                    "comment": b"",
                    "disk": 0,
                    "internal": 0,
                    "external": 0o100644 << 16,
                    "offset": offset if member.offset is None else member.offset,
                    **member.central,
                }
                directory += struct.pack(
                    "<4s6H3L5H2L",
                    b"PK\x01\x02",
                    *(central[key] for key in ("made", "needed", "flags", "method", "time", "date")),
                    *(central[key] for key in ("crc", "stored", "size")),
                    *(len(central[key]) for key in ("name", "extra", "comment")),
                    *(central[key] for key in ("disk", "internal", "external", "offset")),
                )
                directory += central["name"] + central["extra"] + central["comment"]
        out += self.before_directory
        count = sum(member.in_directory for member in self.members)
        end = {
            "disk": 0,
            "start_disk": 0,
            "here": count,
            "count": count,
            "size": len(directory),
            "start": len(out),
            "comment": 0,
            **self.end,
        }
        out += directory + self.before_end
        return bytes(out + struct.pack("<4s4H2LH", b"PK\x05\x06", *end.values()) + self.suffix)
