"""Whether the records of a torch file hold what its main pickle says of them: there at all, and as long as named.

Compares numbers and reads no record. What a difference means depends on the torch version: older ones read a record of
another length all the same.

Source: `torch/serialization.py` (`_load`, `_legacy_load`), `torch/csrc/jit/python/init.cpp` (get_storage_from_record).
"""

from __future__ import annotations

__all__ = ["find_record_problems"]

from operator import attrgetter

from ._container import Candidate, Container, RecordProblem


def find_record_problems(container: Container, candidate: Candidate) -> list[RecordProblem]:
    """The storages of the main pickle of a torch file that their records do not fit, in file order."""
    if not candidate.root or container.kind not in ("torch-zip", "legacy"):
        return []
    found = []
    summary = candidate.get_summary(container.storage_fields)
    for key, needed in summary.get_sizes().items():
        place = container.storages.get(key)
        size = container.packed.get(key) if place is None else place[1]
        if size == needed or (size is None and (not candidate.stream.complete or container.problems)):
            continue
        offset = summary.storages[key].offset
        found.append(RecordProblem(offset=offset, key=key, size_bytes=size, needed_bytes=needed))
    return sorted(found, key=attrgetter("offset"))
