"""Digests of a stream that is being written, computed in a thread of its own.

hashlib and zlib release the interpreter lock, so hashing runs beside writing; a bounded queue keeps a few pieces in
flight, however large the tensors are.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib

_PIECES_IN_FLIGHT = 3


class DigestThread:
    """Takes pieces in order and digests them section by section."""

    def __init__(self) -> None:
        self._queue: queue.Queue[memoryview | str | None] = queue.Queue(maxsize=_PIECES_IN_FLIGHT)
        self._digests: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="mpt-digest", daemon=True)
        self._thread.start()

    def add_piece(self, piece: memoryview) -> None:
        """Hand on a piece; its memory must stay unchanged until `finish`."""
        self._queue.put(piece)

    def end_section(self, name: str) -> None:
        """Close the current section and keep its digest under a name."""
        self._queue.put(name)

    def put(self, name: str, digest: str) -> None:
        """Keep a digest that was computed elsewhere."""
        self._digests[name] = digest

    def finish(self) -> dict[str, str]:
        """Wait for everything and return the digests (hex) by section name."""
        self._queue.put(None)
        self._thread.join()
        return self._digests

    def _run(self) -> None:
        digest = hashlib.sha256()
        while (item := self._queue.get()) is not None:
            if isinstance(item, str):
                self._digests[item] = digest.hexdigest()
                digest = hashlib.sha256()
            else:
                digest.update(item)


def crc32_of(data: bytes | memoryview, value: int = 0) -> int:
    """Return the zip checksum of bytes, continued from an earlier value."""
    return zlib.crc32(data, value)
