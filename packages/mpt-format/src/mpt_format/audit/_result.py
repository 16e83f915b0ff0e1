"""The answer of an audit: findings, torch's verdicts and the shape of what is inside, as frozen values.

Holds no node of the file: everything here is text and numbers, escaped for printing and bounded in size.
"""

from __future__ import annotations

__all__ = ["SEVERITIES", "VERDICTS", "FileAudit", "Finding", "TopLevelEntry", "TorchAnswer", "worst_verdict"]

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "incompatible", "suspicious", "dangerous", "malformed"]
Verdict = Literal["ok", "incompatible", "suspicious", "notckpt", "malformed", "dangerous"]

SEVERITIES: tuple[Severity, ...] = ("info", "incompatible", "suspicious", "malformed", "dangerous")
VERDICTS: tuple[Verdict, ...] = ("ok", "incompatible", "suspicious", "notckpt", "malformed", "dangerous")
"""From best to worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that keeps a file from loading under `weights_only=True`, or that a person must look at.

    Attributes:
        path: Where it lies in the loaded object, as Python would reach it; None for what belongs to no object (an
            opcode, a container defect, a call whose result is thrown away).
        kind: What it is: datetime, deque, enum, object, numpy array, function, opcode, ...
        name: The dotted global, or the opcode's name; JSON calls it `global`.
        offset: Byte offset in the pickle stream (`stream` tells which), or None.
        count: How often the object is referred to, or the opcode used.
        severity: info, incompatible, suspicious, malformed or dangerous.
        hint: What it is and what to write instead.
        stream: Name of the pickle inside the file; empty for the main one.
        also_at: Further paths to the same object.
    """

    path: str | None
    kind: str
    name: str | None
    offset: int | None
    count: int
    severity: Severity
    hint: str
    stream: str = ""
    also_at: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "path": self.path,
            "kind": self.kind,
            "global": self.name,
            "offset": self.offset,
            "count": self.count,
            "severity": self.severity,
            "hint": self.hint,
            "stream": self.stream,
            "also_at": list(self.also_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchAnswer:
    """Whether one torch version loads the file under `weights_only=True`, and what it says if not.

    `loads` is None where the question does not arise: a format that torch.load does not read and that holds no pickle.
    """

    loads: bool | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return {"loads": self.loads, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLevelEntry:
    """One entry of the loaded object's top level: its key as Python shows it, its type, a tensor's shape and dtype."""

    key: str
    type: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        entry: dict[str, Any] = {"key": self.key, "type": self.type}
        if self.shape is not None:
            entry["shape"] = list(self.shape)
            entry["dtype"] = self.dtype
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAudit:
    """Everything the audit says about one file.

    Attributes:
        file: The path as given.
        size_bytes: Size of the file.
        container: Short name of the container: torch-zip, legacy, torch-tar, torchscript, pickle, safetensors, mpt, ...
        description: The container in words.
        verdict: ok, incompatible, suspicious, dangerous, malformed or notckpt.
        torch: Torch release -> its answer, oldest first.
        allowlist: What `torch.serialization.add_safe_globals` with every name of the file would achieve; None where
            nothing needs it.
        findings: Worst first, then in file order.
        top_level: The entries of the root object.
        root_type: The type of the root object.
        totals: Counts: pickles, globals, calls, tensors, tensor bytes, findings by severity.
        notes: Facts about the file that are no findings.
        limits_hit: Every bound that was reached.
    """

    file: str
    size_bytes: int
    container: str
    description: str
    verdict: Verdict
    torch: dict[str, TorchAnswer]
    allowlist: str | None = None
    findings: tuple[Finding, ...] = ()
    top_level: tuple[TopLevelEntry, ...] = ()
    root_type: str | None = None
    totals: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    limits_hit: tuple[str, ...] = ()

    @property
    def finding_count(self) -> int:
        """How many findings there are, those that are not listed included."""
        return sum(self.totals.get("findings", {}).values())

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values, in the documented shape."""
        return {
            "file": self.file,
            "size_bytes": self.size_bytes,
            "container": self.container,
            "description": self.description,
            "verdict": self.verdict,
            "torch": {version: answer.to_json() for version, answer in self.torch.items()},
            "allowlist": self.allowlist,
            "findings": [finding.to_json() for finding in self.findings],
            "top_level": [entry.to_json() for entry in self.top_level],
            "root_type": self.root_type,
            "totals": self.totals,
            "notes": list(self.notes),
            "limits_hit": list(self.limits_hit),
        }


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; `ok` for none."""
    return max(verdicts, key=VERDICTS.index, default="ok")
