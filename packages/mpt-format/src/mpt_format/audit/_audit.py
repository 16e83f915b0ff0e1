"""`audit_checkpoint`: one file in, one answer out.

The order is the argument: tell the container, read every pickle symbolically, ask each torch version's rules where it
would stop, walk the graph for paths, judge what is not allowed, and only then name a verdict. Executes nothing, imports
nothing that the file names, and needs no torch.
"""

from __future__ import annotations

__all__ = ["audit_bytes", "audit_checkpoint", "audit_container", "open_file"]

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpt_format.errors import AuditError, MptError, escape_text

from ._container import Container
from ._containers import open_container
from ._findings import collect_findings
from ._limits import DEFAULT_LIMITS, Limits
from ._machine import no_collections
from ._mapped import MappedFile
from ._names_known import find_framework
from ._nodes import Global
from ._result import FileAudit, Finding, TorchAnswer, Verdict
from ._stream import Buffer
from ._structure import describe_root, describe_totals, find_flavour
from ._torch_answer import ask_torch, describe_allowlist, describe_members


def audit_checkpoint(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> FileAudit:
    """Say whether `torch.load(weights_only=True)` would load a file, what in it would not, where, and what to do.

    Nothing of the file is executed or imported, and tensors are not read: the time does not depend on their size.

    Args:
        path: Any file; what it is is told from its bytes, not from its name.
        limits: How much is read before the auditor stops and says so.

    Returns:
        The answer, for malformed files and for files that are no checkpoint as well.

    Raises:
        AuditError: There is no such file, it is no regular file, or it cannot be read.
    """
    name = os.fspath(path)
    with open_file(name) as data:
        return audit_bytes(data, name=name, limits=limits)


@contextmanager
def open_file(name: str) -> Iterator[Buffer]:
    """Give the bytes of a regular file, mapped where they are many; what else stands there is refused without waiting.

    Raises:
        AuditError: There is no such file, it is no regular file, or it cannot be read.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise AuditError(f"{escape_text(name)} cannot be audited: {error.strerror or error}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AuditError(f"{escape_text(name)} cannot be audited: it is no regular file")
        if status.st_size <= _SMALL:
            yield os.read(descriptor, status.st_size)
            return
        data = MappedFile(descriptor, 0, access=mmap.ACCESS_READ)
        data.descriptor = descriptor
        try:
            yield data
        finally:
            with suppress(BufferError):  # views of large byte strings keep the mapping until they go
                data.close()
    except MptError:
        raise  # from within the block, as of an output that cannot be written: not of this file
    except OSError as error:
        raise AuditError(f"{escape_text(name)} cannot be audited: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


_SMALL = 256 << 10
"""One read of so many bytes takes less time than mapping them and touching a few pages."""


def audit_bytes(data: Buffer, *, name: str, limits: Limits = DEFAULT_LIMITS) -> FileAudit:
    """Audit the bytes of one file; `name` is only repeated in the answer."""
    with no_collections():
        return audit_container(open_container(data, limits), name=name, size_bytes=len(data), limits=limits)


def audit_container(container: Container, *, name: str, size_bytes: int, limits: Limits) -> FileAudit:
    """Audit a container that was opened already."""
    findings, counts, limits_hit = collect_findings(container, limits)
    torch = ask_torch(container, container.kind == "safetensors" and Path(name).suffix == ".safetensors")
    verdict = _decide(container, findings, limits_hit, torch)
    root = container.get_root()
    stream = root.stream if root is not None and root.stream.complete else None
    root_type, top_level = describe_root(container, stream, limits)
    if len(top_level) > limits.top_level:
        limits_hit.append(f"top_level: {limits.top_level} of {len(top_level)} entries are listed")
        top_level = top_level[: limits.top_level]
    notes = [*container.notes, *describe_members(container)]
    flavour = find_flavour(container)
    if flavour:
        notes.insert(0, flavour)
    return FileAudit(
        file=name,
        size_bytes=size_bytes,
        container=container.kind,
        description=container.description,
        verdict=verdict,
        torch=torch,
        allowlist=describe_allowlist(container) if verdict in ("incompatible", "suspicious") else None,
        findings=tuple(findings),
        top_level=tuple(top_level),
        root_type=root_type,
        totals=describe_totals(container, counts),
        notes=tuple(notes),
        limits_hit=tuple(limits_hit),
    )


def _decide(
    container: Container, findings: list[Finding], limits_hit: list[str], torch: dict[str, TorchAnswer]
) -> Verdict:
    """One word for the file, from the worst that was found."""
    severities = {finding.severity for finding in findings}
    if "dangerous" in severities:
        return "dangerous"
    if "malformed" in severities:
        return "malformed"
    if container.not_checkpoint and not container.candidates:
        return "notckpt"
    if "suspicious" in severities or limits_hit_by_reading(limits_hit):
        return "suspicious"
    if container.kind in ("pickle", "npy") and _is_foreign_pickle(container):
        return "notckpt"
    if "incompatible" in severities or any(answer.loads is False for answer in torch.values()):
        return "incompatible"
    return "ok"


def limits_hit_by_reading(limits_hit: list[str]) -> bool:
    """Whether a limit kept part of the file from being read, rather than from being printed."""
    return any(not limit.startswith(("findings:", "top_level:")) for limit in limits_hit)


def _is_foreign_pickle(container: Container) -> bool:
    """Whether a plain pickle belongs to another framework: it names one, and nothing of torch."""
    names = [event.full_name for c in container.candidates for event in c.stream.log if type(event) is Global]
    return any(find_framework(name) for name in names) and not any(name.startswith("torch") for name in names)
