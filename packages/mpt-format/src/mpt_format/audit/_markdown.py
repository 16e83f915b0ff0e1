"""The findings document: one Markdown file about one or many checkpoints, for a pull request or a migration plan.

Environment; of many files what is wrong in how many of them, and the same for each folder; the summary table; then per
file: torch's answers, top level, findings, the conversion table and the change to make in the training script. Files
that say the same share one such section. Everything from a file is escaped for Markdown.
"""

from __future__ import annotations

__all__ = ["format_report"]

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from mpt_format.errors import escape_text

from ._causes import Cause, Causes, find_alike
from ._hints import CONVERT_TO
from ._result import FileAudit
from ._text import count_verdicts, describe_answer, group_answers, suggest_changes
from ._torch_table import load_rules

_WORDS = {True: "loads", False: "refuses", None: "-"}


def format_report(audits: Sequence[FileAudit], causes: Causes | None = None) -> str:
    """The findings document for these files, with what is wrong in how many of them where that was counted."""
    return "\n".join(_report(audits, causes)) + "\n"


def _report(audits: Sequence[FileAudit], causes: Causes | None) -> Iterator[str]:
    yield "# Checkpoint audit"
    yield ""
    yield "## Environment"
    yield ""
    versions = ", ".join(".".join(v.split(".")[:2]) for v in load_rules())
    yield f"- mpt-format {_installed('mpt-format')}, Python {platform.python_version()}, {platform.system()}"
    yield f"- torch rules: {versions} (torch itself was not imported)"
    yield "- nothing in the files was executed"
    yield ""
    if causes is not None and len(audits) > 1:
        yield from _causes(causes)
    yield "## Summary"
    yield ""
    yield from _table(
        ("file", "container", "verdict", "torch", "findings"),
        (
            (
                a.file,
                a.container,
                a.verdict,
                "; ".join(f"{versions}: {_WORDS[answer.loads]}" for versions, answer in group_answers(a.torch)),
                str(a.finding_count),
            )
            for a in audits
        ),
    )
    for group in find_alike(audits):
        yield ""
        yield from _file(audits[group[0]], [audits[at].file for at in group[1:]])


def _causes(causes: Causes) -> Iterator[str]:
    yield "## What is wrong"
    yield ""
    yield from _cause_table(causes.ranked(), [cause.count for cause in causes.ranked()])
    yield ""
    if len(causes.verdicts) < 2:
        return
    yield "## Folders"
    yield ""
    for folder, counts in causes.verdicts.items():
        yield f"### {_cell(folder)}: {count_verdicts(counts)}"
        yield ""
        ranked = causes.ranked(folder)
        if ranked:
            yield from _cause_table(ranked, [cause.files[folder] for cause in ranked])
            yield ""


def _cause_table(causes: Sequence[Cause], counts: Sequence[int]) -> Iterator[str]:
    yield from _table(
        ("severity", "files", "what", "hint", "as"),
        (
            (cause.severity, str(count), cause.what, cause.hint, cause.example)
            for cause, count in zip(causes, counts, strict=True)
        ),
    )


def _file(audit: FileAudit, alike: Sequence[str]) -> Iterator[str]:
    more = f" and {len(alike)} more" if alike else ""
    yield f"## {_cell(audit.file)}{more}"
    yield ""
    if alike:
        yield f"The same, but for sizes and bytes: {', '.join(map(_cell, alike))}."
        yield ""
    yield f"Verdict: **{audit.verdict}**. {escape_text(audit.description)}; {audit.size_bytes} bytes."
    yield ""
    for versions, answer in group_answers(audit.torch):
        yield f"- torch {versions}: {_cell(describe_answer(answer))}"
    if audit.allowlist:
        yield f"- {_cell(audit.allowlist)}"
    for note in (*audit.notes, *(f"limit hit: {limit}" for limit in audit.limits_hit)):
        yield f"- {_cell(note)}"
    yield ""
    yield f"### Top level ({_cell(audit.root_type or 'no object')})"
    yield ""
    yield from _table(
        ("key", "type", "shape"),
        (
            (entry.key, entry.type, f"{entry.dtype} {list(entry.shape)}" if entry.shape is not None else "")
            for entry in audit.top_level
        ),
    )
    yield ""
    yield "### Findings"
    yield ""
    if audit.findings:
        yield from _table(
            ("severity", "kind", "global", "path", "byte", "count", "hint"),
            (
                (
                    f.severity,
                    f.kind,
                    f.name or "",
                    (f"{f.stream}: " if f.stream else "") + (f.path or ""),
                    "" if f.offset is None else str(f.offset),
                    str(f.count),
                    f.hint,
                )
                for f in audit.findings
            ),
        )
    else:
        yield "None."
    conversions = [f for f in audit.findings if f.kind in CONVERT_TO and f.path]
    if conversions:
        yield ""
        yield "### Conversion"
        yield ""
        yield from _table(
            ("current type", "location", "convert to"),
            ((f.name or f.kind, f.path or "", CONVERT_TO[f.kind]) for f in conversions),
        )
    yield ""
    yield "### What to change in the training script"
    yield ""
    for change in suggest_changes(audit):
        yield f"- {_cell(change)}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(text: str) -> str:
    """Text that stays one table cell and starts no markup of its own."""
    safe = escape_text(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace("[", "\\[").replace("*", "\\*").replace("_", "\\_").replace("`", "\\`").replace("!", "\\!")


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"
