"""A drafted revision as a Python file that a person reads, finishes and reviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from policy_interface.migrations import Choose, TensorOp

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
) -> str:
    """Return the file."""
    steps = config_lines(config)
    written = {name for line in steps for name in (line.operation, *line.offered)}
    names = sorted({type(op).__name__ for op in tensors} | written)
    text = _HEAD.format(written_by=written_by, version=version, kind=kind, names=", ".join([*names, "Revision"]))
    for rename in renames:
        text += f"# the source of {rename.owner} renames {rename.old} to {rename.new} = {rename.value:.80}\n"
    for note in notes:
        text += f"# {' '.join(note.split())}\n"
    if tried is not None and not notes:
        text += f"# {tried.tried} assignments were tried against the witness, {tried.met} met it\n"
    if met is False:
        text += "# The witness is NOT met by these operations: something changed that no key and no shape shows\n"
        text += "# (an order of inputs, a constant, a square matrix). Say it with a Function.\n"
    lines = [
        "REVISION = Revision(",
        f'    id="r_{kind}_{version.replace(".", "_")}",',
        f"    parents=({parent!r},)," if parent else "    parents=(),",
        f'    since="{version}",',
        f'    kinds=("{kind}",),',
        '    summary="",',
        "    config=(",
        *(f"        {line.text}" for line in steps),
        "    ),",
        "    tensors=(",
    ]
    for op in tensors:
        if isinstance(op, Choose):
            lines += [f"        # {sentence}" for sentence in op.evidence]
            lines.append(f"        # choose: {' | '.join(op.candidates) or 'nothing fits, is it new?'}")
        lines.append(f"        {_source(op)},")
    lines += ["    ),", "    reviewed=False,", ")"]
    return text + "\n".join(lines) + "\n"


def _source(op: TensorOp) -> str:
    shown = []
    for field in fields(op):  # type: ignore[arg-type]
        value = getattr(op, field.name)
        if value != field.default and not (isinstance(op, Choose) and field.name == "evidence"):
            shown.append(f"{field.name}={value!r}")
    return f"{type(op).__name__}({', '.join(shown)})"
