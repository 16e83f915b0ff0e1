"""Tar archives, among them torch's own format before 0.1.10: every member is audited as a file.

Nothing is unpacked to disk; members are slices of the file.

Source: `torch/serialization.py` (`legacy_load`).
"""

from __future__ import annotations

__all__ = ["open_tar"]

import io
from typing import IO, cast

from ._container import Container, Opener, join_names
from ._limits import Limits
from ._stream import Buffer


def open_tar(data: Buffer, limits: Limits, name: str, nesting: int, opener: Opener) -> Container:
    import tarfile  # with its compressors a tenth of the command's start, for a format of long ago

    container = Container(
        kind="tar",
        opener=opener,
        description="a tar archive",
        torch_refusal="Cannot use weights_only=True with files saved in the legacy .tar format.",
    )
    members: list[tuple[str, int, int]] = []
    try:
        with tarfile.open(fileobj=_reader(data), mode="r:", ignore_zeros=False) as archive:
            for member in archive:
                if len(members) >= limits.members:
                    container.limits_hit.append(f"members: stopped after {limits.members}")
                    break
                if member.isreg():
                    members.append((member.name, member.offset_data, member.size))
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError):
        container.problems.append("the tar archive cannot be read to its end")
    names = {member_name for member_name, _, _ in members}
    if len(names) < len(members):
        container.problems.append("two tar members have the same name")
    if {"storages", "tensors", "pickle"} <= names:
        container.kind = "torch-tar"
        container.description = "torch's tar format (before 0.1.10)"
    for member_name, offset, size in members:
        if offset + size > len(data):
            container.problems.append(f"tar member {member_name[:80]!r} reaches behind the end of the file")
            continue
        if size > limits.inflated_size_bytes:
            container.limits_hit.append(
                f"tar member {member_name[:80]!r}: more than {limits.inflated_size_bytes} bytes"
            )
            continue
        if not container.may_read_on(limits):
            break
        container.descend(data[offset : offset + size], join_names(name, member_name), offset, limits, nesting)
    if not container.candidates:
        container.not_checkpoint = not container.problems
    return container


def _reader(data: Buffer) -> IO[bytes]:
    return io.BytesIO(data) if isinstance(data, bytes) else cast(IO[bytes], data)
