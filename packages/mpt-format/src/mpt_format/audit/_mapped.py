"""A mapped file that can also be read in small pieces.

The local headers of a zip lie one behind each tensor: touching them through the mapping costs a page fault each,
reading thirty bytes at an offset does not.
"""

from __future__ import annotations

__all__ = ["MappedFile"]

import mmap
import os


class MappedFile(mmap.mmap):
    """A read-only mapping that knows its descriptor; the descriptor stays open as long as the mapping is used."""

    descriptor: int = -1

    def fetch(self, begin: int, end: int) -> bytes:
        """The bytes of a small range."""
        if hasattr(os, "pread") and self.descriptor >= 0:
            return os.pread(self.descriptor, end - begin, begin)
        return self[begin:end]
