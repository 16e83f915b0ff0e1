"""A diagnosis as text for a terminal, and as Markdown for an issue.

Much of it is what an archive says: it can neither steer the terminal nor start markup of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mpt_format.errors import escape_text

from app_loader.diagnosis.finding import STAGES, Finding
from app_loader.diagnosis.report import Diagnosis

MAX_SHOWN = 12


def to_text(diagnosis: Diagnosis) -> str:
    """Return the diagnosis as plain lines, one stage after another."""
    lines = [f"{diagnosis.archive}  written by {diagnosis.written_by}", f"verdict: {diagnosis.verdict()}", ""]
    skipped = dict(diagnosis.skipped)
    for number, stage in enumerate(STAGES):
        found = diagnosis.of_stage(stage)
        if not found:
            lines.append(f"{number} {stage:<11} {'not looked at: ' + skipped[stage] if stage in skipped else 'same'}")
            continue
        lines.append(f"{number} {stage:<11} {_counted(found)}")
        for finding in found[:MAX_SHOWN]:
            lines += ["    " + line for line in _lines(finding)]
        if len(found) > MAX_SHOWN:
            lines.append(f"    ... and {len(found) - MAX_SHOWN} more (--json or --report has all)")
    if not diagnosis.would_load and diagnosis.next_commands():
        lines += ["", "next:", *(f"  {command}" for command in diagnosis.next_commands()[:4])]
    return "\n".join(escape_text(part) for line in lines for part in line.splitlines() or [""])


def to_markdown(diagnosis: Diagnosis) -> str:
    """Return the diagnosis as Markdown with one table per stage."""
    lines = [
        f"# Diagnosis of {_cell(diagnosis.archive)}",
        "",
        f"Written by {_cell(diagnosis.written_by)}. It {_cell(diagnosis.verdict())}.",
        "",
    ]
    if not diagnosis.would_load and diagnosis.next_commands():
        lines += ["To run next:", "", "```sh", *map(escape_text, diagnosis.next_commands()), "```", ""]
    skipped = dict(diagnosis.skipped)
    for stage in STAGES:
        found = diagnosis.of_stage(stage)
        lines += [f"## {stage}", ""]
        if not found:
            lines += [f"Not looked at: {_cell(skipped[stage])}." if stage in skipped else "The same.", ""]
            continue
        lines += ["| severity | what | then | now | evidence |", "|---|---|---|---|---|"]
        for f in found:
            said = (_value(f.old), _value(f.new), "; ".join(f.evidence))
            cells = (f.severity, f"{_code(f.subject)}: {_cell(f.message)}", *map(_cell, said))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return a text as a span of code, which it cannot end."""
    return f"`{escape_text(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    """Return a text that stays one cell and starts no markup: no tag, no link, no picture that is fetched."""
    safe = escape_text(" ".join(text.splitlines())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|\[\]`!])", r"\\\1", safe)


def _counted(found: tuple[Finding, ...]) -> str:
    counts = [(sum(f.severity == s for f in found), s) for s in ("error", "warning", "note")]
    return ", ".join(f"{count} {severity}{'s' if count > 1 else ''}" for count, severity in counts if count)


def _lines(finding: Finding) -> Iterator[str]:
    mark = {"error": "x", "warning": "!", "note": "-"}[finding.severity]
    yield f"{mark} {finding.subject}: {finding.message}"
    if finding.old is not None and finding.new is not None:
        yield f"    {_value(finding.old)} -> {_value(finding.new)}"
    for line in finding.evidence[:3]:
        yield f"    {line}"
    if finding.candidates:
        yield f"    candidates: {', '.join(finding.candidates[:4])}"


def _value(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
