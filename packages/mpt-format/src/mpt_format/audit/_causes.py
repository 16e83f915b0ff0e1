"""What keeps many files from loading, said once each: which objects, in how many files, below which folders.

A person who has a thousand checkpoints to care for tells each team what to change, and reads no thousand audits. Only
counts and one example of each cause are kept, whatever the number of files.
"""

from __future__ import annotations

__all__ = ["Cause", "Causes", "Told", "find_alike", "find_causes", "find_folder", "key_of"]

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ._hints import CONVERT_TO
from ._result import VERDICTS, FileAudit, Finding, Verdict

_MOST_CAUSES = 5000
"""So many different causes are told apart; a hostile folder could bring as many as it has bytes."""


@dataclass(slots=True, kw_only=True)
class Cause:
    """One thing to change.

    Attributes:
        severity: As of the finding; `notckpt` for what is no checkpoint.
        what: The kind and the global, as in `enum (team.Stage)`.
        hint: What to write instead, or what is wrong.
        example: A file and, where there is one, the path in it.
        files: Folder -> how many of its files have it.
    """

    severity: str
    what: str
    hint: str
    example: str
    files: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many files have it."""
        return self.files.total()


class Told(NamedTuple):
    """One cause in one file: what tells it from others, and its words."""

    key: tuple[str, ...]
    what: str
    hint: str
    example: str


def find_causes(audit: FileAudit) -> list[Told]:
    """What is wrong with one file, each cause once."""
    told: dict[tuple[str, ...], Told] = {}
    if audit.verdict == "notckpt":
        hint = f"it is no checkpoint: {audit.description}"
        told[audit.container,] = Told(("notckpt", audit.container), audit.container, hint, audit.file)
    for finding in audit.findings:
        key = key_of(finding.severity, finding.kind, finding.name)
        if finding.severity != "info" and key not in told:
            name = f"{finding.kind} ({finding.name})" if finding.name and finding.kind != "opcode" else finding.kind
            place = (finding.path, finding.stream, audit.file)
            example = " in ".join(part for part in place if part)
            told[key] = Told(key, name, _instead(finding), example)
    return list(told.values())


@dataclass(slots=True, kw_only=True)
class Causes:
    """The causes of many files, and the verdicts of each folder."""

    by_key: dict[tuple[str, ...], Cause] = field(default_factory=dict)
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)

    def add(self, verdict: Verdict, found: Iterable[Told], folder: str) -> None:
        """Count what was found in one file for its folder."""
        self.verdicts.setdefault(folder, Counter())[verdict] += 1
        for one in found:
            key, what, hint, example = one
            if key not in self.by_key and len(self.by_key) >= _MOST_CAUSES:
                key, what, hint = (key[0], ""), "something else", "see the audit of the file"
            cause = self.by_key.setdefault(key, Cause(severity=key[0], what=what, hint=hint, example=example))
            cause.files[folder] += 1

    def ranked(self, folder: str | None = None) -> list[Cause]:
        """The causes, worst first, then by how many files have them; of one folder where one is named."""
        ranks: dict[str, int] = {name: -rank for rank, name in enumerate(VERDICTS)}
        chosen = [cause for cause in self.by_key.values() if folder is None or folder in cause.files]
        return sorted(
            chosen, key=lambda cause: (ranks[cause.severity], -(cause.files[folder] if folder else cause.count))
        )


def key_of(severity: str, kind: str, name: str | None) -> tuple[str, ...]:
    """What tells the cause of a finding from others."""
    if severity == "malformed" or kind == "opcode":  # each has its own byte, all say one thing
        return (severity, kind)
    return (severity, kind, name or "")


def _instead(finding: Finding) -> str:
    if finding.kind == "opcode":
        return "save with pickle protocol 2: torch.save's default, so leave `pickle_protocol` out"
    if finding.severity in ("incompatible", "suspicious") and finding.kind in CONVERT_TO:
        return f"write {CONVERT_TO[finding.kind]}"
    return finding.hint


def find_folder(file: str, place: str) -> str:
    """The folder that a file counts for: of a folder that was named, the one directly below it.

    Args:
        file: The path of the file.
        place: Its path below the folder that was named.
    """
    parts, below = Path(file).parts, len(Path(place).parts)
    return str(Path(*parts[: len(parts) - max(below - 1, 1)]))


def find_alike(audits: Sequence[FileAudit]) -> list[list[int]]:
    """The positions of audits that say the same but for names, sizes and bytes, in the order of the first of each."""
    groups: dict[str, list[int]] = {}
    for at, audit in enumerate(audits):
        document = audit.to_json()
        for name in ("file", "size_bytes", "totals"):
            del document[name]
        for finding in document["findings"]:
            del finding["offset"]
        groups.setdefault(json.dumps(document), []).append(at)
    return list(groups.values())
