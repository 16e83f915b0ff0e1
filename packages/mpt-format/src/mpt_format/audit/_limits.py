"""The bounds of one audit: how much of a file is read before the auditor stops and says so.

A limit that is hit is named in the answer, and what was found before it is still reported. No limit makes a verdict
better: a file that was not read to its end is never called `ok`.
"""

from __future__ import annotations

__all__ = ["DEFAULT_LIMITS", "Limits"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one audit reads, keeps and prints."""

    opcodes: int = 16_000_000
    """Turns of the opcode loop for one pickle stream. A million datetimes take eight million."""
    all_opcodes: int = 32_000_000
    """The same for all streams of a file together; a stream counts with its bytes, at most with `opcodes`."""
    marks: int = 100_000
    """Depth of open MARKs; Python's own pickler stops near a thousand."""
    inflated_size_bytes: int = 256 << 20
    """Bytes that a compressed member may unpack to."""
    all_unpacked_bytes: int = 1 << 30
    """The same for all members of a file together."""
    inflate_ratio: int = 1100
    """Unpacked bytes for one packed byte; DEFLATE itself cannot exceed 1032."""
    members: int = 200_000
    """Members of a zip or tar that are looked at."""
    streams: int = 4096
    """Pickle streams of one file that are audited."""
    nesting: int = 4
    """Archives inside archives that are opened."""
    findings: int = 1000
    """Findings of one severity that are listed one by one; all are counted."""
    path_steps: int = 64
    """Steps of a path that are printed; the middle of a longer one is elided."""
    top_level: int = 200
    """Entries of the top level that are listed."""


DEFAULT_LIMITS = Limits()
