"""A mapped file that can also be read in small pieces.

The local headers of a zip lie one behind each tensor: touching them through the mapping costs a page fault each,
reading thirty bytes at an offset does not. Where many of them share a page the mapping is the cheaper one.
"""

from __future__ import annotations

__all__ = ["MappedFile", "read_range", "read_small_ranges"]

import mmap
import os
from collections.abc import Sequence


class MappedFile(mmap.mmap):
    """A read-only mapping that knows its descriptor; the descriptor stays open as long as the mapping is used."""

    descriptor: int = -1

    def fetch(self, begin: int, end: int) -> bytes:
        """The bytes of a small range; empty for one that begins outside the file, as a slice would be."""
        if not 0 <= begin < len(self):
            return b""
        if hasattr(os, "pread") and self.descriptor >= 0:
            return os.pread(self.descriptor, end - begin, begin)
        return self[begin:end]


def read_range(data: bytes | mmap.mmap, begin: int, end: int) -> bytes:
    """A range of a file, without touching a mapping's pages where that is possible."""
    if isinstance(data, MappedFile) and end - begin < _LARGEST_READ:
        return data.fetch(begin, end)
    return data[begin:end]


_LARGEST_READ = 1 << 30
"""One read call may return less than it was asked for above this."""


def read_small_ranges(data: bytes | mmap.mmap, begins: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
    """Many small ranges of a file, each cut off where the file ends, in the cheapest way for how close they lie."""
    places = zip(begins, sizes, strict=True)
    if (
        isinstance(data, MappedFile)
        and hasattr(os, "pread")
        and data.descriptor >= 0
        and len(data) > _DENSE * len(begins)
    ):
        read, descriptor = os.pread, data.descriptor
        return [read(descriptor, size, begin) for begin, size in places]
    return [data[begin : begin + size] for begin, size in places]


_DENSE = 6 << 10
"""A page fault maps sixteen pages and costs as much as ten small reads."""
