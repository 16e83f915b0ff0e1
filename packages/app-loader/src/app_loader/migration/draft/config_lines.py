"""What a drafted revision says about the config: operations where the change is plain, questions where it is not.

A question stands as a comment with the operation it asks about, so an unanswered one leaves the config as it was and
the code refuses it: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app_loader.diagnosis.finding import Finding
from app_loader.migration.draft.renamed_fields import beside


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLine:
    """One line of the draft.

    Attributes:
        text: an operation, or a comment.
        is_question: whether a person has to answer it.
        operation: the name of the operation's class.
        offered: names of the operations that a person may choose instead.
    """

    text: str
    operation: str
    is_question: bool = False
    offered: tuple[str, ...] = ()


def config_lines(findings: Sequence[Finding]) -> list[ConfigLine]:
    """Return the lines for what `diagnosis.config_stage` found, in its order."""
    return [line for finding in findings if (line := _line(finding)) is not None]


def _line(finding: Finding) -> ConfigLine | None:
    path, old, new = finding.subject, finding.old, finding.new
    if finding.change == "schema":
        return _operation("SetSchemaVersion", f"old={old!r}, new={new!r}")
    if finding.change == "kind" and new is not None:
        return _operation("ChangeKind", f"old={old!r}, new={new!r}", "the nearest kind that the code declares")
    if finding.change == "renamed":
        return _operation("RenameField", f"old={path!r}, new={beside(path, str(new))!r}")
    if finding.change == "moved":
        return _operation(
            "RenameField",
            f"old={path!r}, new={beside(path, str(new))!r}",
            f"choose: {finding.evidence[0]}; or DropField and AddField, if it means another thing",
            offered=("DropField", "AddField"),
        )
    if finding.change == "unknown":
        meant = " or ".join(f"RenameField(old={path!r}, new={beside(path, c)!r})" for c in finding.candidates)
        remark = f"choose: or {meant}, in place of its AddField" if meant else "say why nothing is lost"
        offered = ("RenameField",) if meant else ()
        return _operation("DropField", f"path={path!r}, reason='', only={old!r}", remark, offered=offered)
    if finding.change == "new":
        return _operation("AddField", f"path={path!r}, value={new!r}", "today's default: does it keep the behaviour?")
    if finding.change == "required":
        asked = f"; {finding.evidence[0]}" if finding.evidence else ""
        return _question("AddField", f"path={path!r}, value=...", f"the value that keeps the behaviour{asked}")
    if finding.change == "refused":
        return _question("MapField", f"path={path!r}, values=(({old!r}, ...),)", finding.evidence[0])
    return None


def _operation(name: str, arguments: str, remark: str = "", *, offered: tuple[str, ...] = ()) -> ConfigLine:
    text = f"{name}({arguments})," + (f"  # {remark}" if remark else "")
    return ConfigLine(text=text, operation=name, is_question=bool(offered), offered=offered)


def _question(name: str, arguments: str, remark: str) -> ConfigLine:
    text = f"# choose: {name}({arguments}),  {remark}".replace("\n", " ")
    return ConfigLine(text=text, operation=name, is_question=True)
