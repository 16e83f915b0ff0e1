"""A drafted revision as a Python file that a person reads, finishes and reviews.

It is code, made of what an archive says: a text of the archive becomes a literal or part of a remark, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields

from mpt_format.errors import escape_text
from policy_interface.migrations import Choose, Drop, TensorOp

from app_loader.diagnosis.finding import Finding
from app_loader.migration.draft.config_lines import config_lines
from app_loader.migration.draft.source_renames import AttributeRename
from app_loader.migration.draft.trial import Settled

_HEAD = '''"""Draft of a revision: {written_by} to {version}, kind {kind}.

Not reviewed, so never applied. Finish it: answer every Choose, say why each Drop loses nothing, write the summary, set
reviewed=True, move the file into the migrations of the zoo and list its REVISION in REVISIONS there. Then: mpt migrate
check, and mpt migrate ARCHIVE -o NEW.mpt --prove
"""

from policy_interface.migrations import {names}

'''


def format_revision(
    *,
    kind: str,
    version: str,
    parent: str | None,
    written_by: str,
    config: Sequence[Finding],
    tensors: Sequence[TensorOp],
    renames: Sequence[AttributeRename],
    tried: Settled | None,
    met: bool | None,
    notes: Sequence[str] = (),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> str:
    """Return the file; `shapes` are those of the new tensors, for what could be written in the place of a question."""
    steps = config_lines(config)
    written = {name for line in steps for name in (line.operation, *line.offered)}
    offered = {"Rename" if op.candidates else "Add" for op in tensors if isinstance(op, Choose)}
    names = sorted({type(op).__name__ for op in tensors} | written | offered)
    text = _HEAD.format(
        written_by=_quoted(written_by),
        version=_quoted(version),
        kind=_quoted(kind),
        names=", ".join([*names, "Revision"]),
    )
    for rename in renames:
        value = _in_one_line(rename.value)
        text += f"# the source of {rename.owner} renames {rename.old} to {rename.new} = {value:.80}\n"
    for note in notes:
        text += f"# {_in_one_line(note)}\n"
    if tried is not None and not notes:
        text += f"# {tried.tried} assignments were tried against the witness, {tried.met} met it\n"
    if met is False:
        text += "# The witness is NOT met by these operations: something changed that no key and no shape shows\n"
        text += (
            "# (an order of inputs, a constant, an activation, a square matrix). Say it with a Function of a tensor,\n"
        )
        text += "# or make it a field of the config, and say what it was with AddField.\n"
    lines = [
        "REVISION = Revision(",
        f'    id="r_{_as_name(kind)}_{_as_name(version)}",',
        f"    parents=({parent!r},)," if parent else "    parents=(),",
        f"    since={_literal(version)},",
        f"    kinds=({_literal(kind)},),",
        '    summary="",',
        "    config=(",
        *(f"        {_in_one_line(line.text)}" for line in steps),
        "    ),",
        "    tensors=(",
    ]
    for op in tensors:
        if isinstance(op, Choose):
            lines += [f"        # {_in_one_line(sentence)}" for sentence in op.evidence]
            lines += [f"        # {_in_one_line(said)}" for said in _choices(op, (shapes or {}).get(op.key))]
        asked = "  # say why nothing is lost" if isinstance(op, Drop) and not op.reason else ""
        lines.append(f"        {_source(op)},{asked}")
    lines += ["    ),", "    reviewed=False,", ")"]
    return text + "\n".join(lines) + "\n"


def _in_one_line(text: str) -> str:
    """Return a text without line ends, with which a remark would end and code begin, and nothing that hides code."""
    return escape_text(" ".join(text.splitlines()))


def _quoted(text: str) -> str:
    """Return a text for the inside of a docstring, which it cannot end."""
    return _in_one_line(text).replace("\\", "/").replace('"', "'")


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _as_name(text: str) -> str:
    return re.sub(r"\W", "_", text)


def _choices(op: Choose, shape: tuple[int, ...] | None) -> list[str]:
    """Say what can be chosen, and how it is written."""
    if op.candidates:
        written = f"Rename(old={op.candidates[0]!r}, new={op.key!r})"
        return [f"choose: {' | '.join(op.candidates)}", f"written as {written}, in place of the Choose"]
    size = "..." if shape is None else repr(shape)
    written = f"Add(key={op.key!r}, shape={size}, init='zeros', reason='')"
    return ["choose: nothing fits, is it new?", f"then {written}, in place of the Choose"]


def _source(op: TensorOp) -> str:
    shown = []
    for field in fields(op):  # type: ignore[arg-type]
        value = getattr(op, field.name)
        if value != field.default and not (isinstance(op, Choose) and field.name == "evidence"):
            shown.append(f"{field.name}={value!r}")
    return f"{type(op).__name__}({', '.join(shown)})"
