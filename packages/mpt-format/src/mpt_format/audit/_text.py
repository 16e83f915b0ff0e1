"""The audit as text for a terminal: five sections, plain lines, nothing that a file could use to steer the terminal.

Sections: would torch load it, what is inside, findings, top level, what to change.
"""

from __future__ import annotations

__all__ = ["count_verdicts", "format_audit", "format_causes", "format_summary", "suggest_changes"]

from collections.abc import Iterable, Iterator, Mapping

from mpt_format.errors import escape_text

from ._causes import Causes
from ._hints import CONVERT_TO
from ._result import VERDICTS, FileAudit, Finding, TorchAnswer, Verdict

_SHOWN = 40
_TOP_LEVEL_SHOWN = 30
_ALSO_SHOWN = 3
_FOLDERS_SHOWN = 30
_CAUSES_SHOWN = 30
_FOLDERS_OF_A_CAUSE_SHOWN = 4


def format_audit(audit: FileAudit, *, shown: int = _SHOWN) -> str:
    """One file's audit in five sections."""
    return "\n".join(_lines(audit, shown))


def _lines(audit: FileAudit, shown: int) -> Iterator[str]:
    yield f"{escape_text(audit.file)}: {audit.verdict}"
    yield f"  {escape_text(audit.description)}, {audit.size_bytes} bytes"
    for note in audit.notes:
        yield f"  {escape_text(note)}"
    yield ""
    yield "1. Would torch.load(weights_only=True) load it?"
    for versions, answer in group_answers(audit.torch):
        yield f"   torch {versions}: {describe_answer(answer)}"
    if audit.allowlist:
        yield f"   {escape_text(audit.allowlist)}"
    yield ""
    yield "2. What is inside"
    totals = audit.totals
    yield (
        f"   {totals['pickles']} pickle(s), {totals['calls']} call(s), {totals['tensors']} tensor(s) in "
        f"{totals['storages']} storage(s) of {totals['storage_bytes']} bytes"
    )
    for name, count in totals["globals"].items():
        yield f"   {count:>6}  {name}"
    yield ""
    yield f"3. Findings: {audit.finding_count or 'none'}"
    for finding in audit.findings[:shown]:
        yield from _finding_lines(finding)
    if audit.finding_count > shown:
        which = "them" if audit.finding_count == len(audit.findings) else f"{len(audit.findings)} of them"
        yield f"   ... and {audit.finding_count - shown} more (--json lists {which})"
    for limit in audit.limits_hit:
        yield f"   limit hit: {escape_text(limit)}"
    yield ""
    yield f"4. Top level: {audit.root_type or 'no object'}"
    for entry in audit.top_level[:_TOP_LEVEL_SHOWN]:
        size = f" {entry.dtype} {list(entry.shape)}" if entry.shape is not None else ""
        yield f"   {entry.key}: {entry.type}{size}"
    if len(audit.top_level) > _TOP_LEVEL_SHOWN:
        yield f"   ... and {len(audit.top_level) - _TOP_LEVEL_SHOWN} more"
    yield ""
    yield "5. What to change"
    for change in suggest_changes(audit):
        yield f"   {change}"


def _finding_lines(finding: Finding) -> Iterator[str]:
    where = finding.path or (f"byte {finding.offset}" if finding.offset is not None else "the file")
    stream = f" in {escape_text(finding.stream)}" if finding.stream else ""
    name = f" ({finding.name})" if finding.name else ""
    count = f", {finding.count} times" if finding.count > 1 else ""
    place = f" at byte {finding.offset}" if finding.offset is not None and finding.path else ""
    yield f"   {finding.severity:<12} {where}{stream}: {finding.kind}{name}{place}{count}"
    if finding.also_at:
        more = finding.count - 1 - len(finding.also_at[:_ALSO_SHOWN])
        rest = f" and {more} more" if more > 0 else ""
        yield f"                also at {', '.join(finding.also_at[:_ALSO_SHOWN])}{rest}"
    yield f"                {finding.hint}"


def group_answers(torch: dict[str, TorchAnswer]) -> list[tuple[str, TorchAnswer]]:
    """Answers of neighbouring versions that agree, as one line each: `2.9 to 2.15`."""
    groups: list[tuple[list[str], TorchAnswer]] = []
    for version, answer in torch.items():
        if groups and groups[-1][1] == answer:
            groups[-1][0].append(version)
        else:
            groups.append(([version], answer))
    return [
        (versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}", answer)
        for versions, answer in groups
    ]


def describe_answer(answer: TorchAnswer) -> str:
    """One torch answer in words."""
    if answer.loads:
        return "loads"
    word = "refuses" if answer.loads is False else "does not apply"
    return f"{word}: {escape_text(answer.reason or 'unknown reason')}"


def suggest_changes(audit: FileAudit) -> list[str]:
    """What to change in the program that writes the file, one line per kind of finding."""
    if audit.verdict == "ok":
        return ["Nothing."]
    if audit.verdict == "notckpt":
        return [f"It is no checkpoint: {escape_text(audit.description)}."]
    lines = []
    if audit.verdict == "dangerous":
        lines.append("Do not load this file; find out where it comes from. `mpt convert` takes the tensors out of it.")
    if audit.verdict == "malformed":
        lines.append("Fetch the file again, or from its author; it cannot be trusted to mean the same to every reader.")
    kinds: dict[str, list[Finding]] = {}
    for finding in audit.findings:
        if finding.severity in ("incompatible", "suspicious"):
            kinds.setdefault(finding.kind, []).append(finding)
    for kind, findings in kinds.items():
        instead = CONVERT_TO.get(kind)
        if kind == "opcode":
            lines.append("Save with pickle protocol 2: torch.save's default, so leave `pickle_protocol` out.")
        elif instead:
            example = next((finding for finding in findings if finding.path), None)
            inside = f" in {escape_text(example.stream)}" if example and example.stream else ""
            place = f", as at {example.path}{inside}" if example else ""
            lines.append(f"{kind} ({len(findings)}{place}): write {instead}.")
        elif kind == "call":
            names = sorted({finding.name for finding in findings if finding.name})
            lines.append(f"Decide about what is called at load time: {', '.join(names[:6])}.")
    if not lines:
        lines.append("See the reasons above.")
    return list(dict.fromkeys(lines))


def format_summary(audits: Iterable[FileAudit]) -> list[tuple[str, ...]]:
    """Rows of the summary table: verdict, container, findings, newest torch, file."""
    rows: list[tuple[str, ...]] = []
    for audit in audits:
        newest = list(audit.torch.values())[-1]
        loads = {True: "loads", False: "refuses", None: "-"}[newest.loads]
        rows.append((audit.verdict, audit.container, str(audit.finding_count), loads, audit.file))
    return rows


def count_verdicts(counts: Mapping[Verdict, int]) -> str:
    """Verdicts with their numbers, best first: `3 ok, 1 dangerous`."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))


def format_causes(causes: Causes) -> Iterator[str]:
    """Lines about many files: each folder that is not all `ok`, then each thing to change with its folders."""
    troubled = {folder: counts for folder, counts in causes.verdicts.items() if set(counts) != {"ok"}}
    if len(causes.verdicts) > 1 and troubled:
        yield ""
        yield "folders:"
        width = min(max(len(escape_text(folder)) for folder in troubled), 60)
        for folder in list(troubled)[:_FOLDERS_SHOWN]:
            yield f"  {escape_text(folder).ljust(width)}  {count_verdicts(troubled[folder])}"
        if len(troubled) > _FOLDERS_SHOWN:
            yield f"  ... and {len(troubled) - _FOLDERS_SHOWN} more (--report lists them)"
        if len(troubled) < len(causes.verdicts):
            yield f"  {len(causes.verdicts) - len(troubled)} more are all ok"
    ranked = causes.ranked()
    if ranked:
        yield ""
        yield "what is wrong, and in how many files:"
    for cause in ranked[:_CAUSES_SHOWN]:
        yield f"  {cause.severity:<12} {cause.count:>6}  {escape_text(cause.what)}: {escape_text(cause.hint)}"
        yield f"{'':<23}as {escape_text(cause.example)}"
        if len(cause.files) > 1:
            most = cause.files.most_common(_FOLDERS_OF_A_CAUSE_SHOWN)
            more = f" and {len(cause.files) - len(most)} more" if len(cause.files) > len(most) else ""
            yield f"{'':<23}in " + ", ".join(f"{escape_text(folder)} ({count})" for folder, count in most) + more
    if len(ranked) > _CAUSES_SHOWN:
        yield f"  ... and {len(ranked) - _CAUSES_SHOWN} more (--report lists them)"
