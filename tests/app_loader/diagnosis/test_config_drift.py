"""Every kind of config drift, end to end: told with evidence, drafted, finished by a person, migrated and proven."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drift_zoo import SOURCE, DriftZoo, make_drift_zoo


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One change of the code.

    Attributes:
        was: text of the source before.
        now: text after.
        change: what the finding calls it.
        subject: the finding's subject.
        severity: the finding's severity.
        candidates: what the finding offers.
        answer: the operations on the config with which a person finishes the draft; empty where it is finished.
        more: a second replacement in the source.
    """

    was: str
    now: str
    change: str
    subject: str
    severity: str = "error"
    candidates: tuple[str, ...] = ()
    answer: str = ""
    more: tuple[str, str] = ("", "")


HEADS_RENAMED = (
    "RenameField(old='head.gain', new='head.scale'), "
    "MapField(path='heads', values=(([{'depth': 1, 'gain': 1.0}] * 2, [{'depth': 1, 'scale': 1.0}] * 2),))"
)
CONV_INSTEAD = (
    "DropField(path='{path}', reason='nothing read it'), "
    "AddField(path='{path}', value={{'kind': 'conv', 'channels': 4}})"
)
TURNED = "class Turned(nn.Linear):\n    def forward(self, x):\n        return -super().forward(x)\n\n"
FORMER = 'Field(default=6, json_schema_extra={"former_names": ["width"]})'
DRIFTS = {
    "renamed, declared": Drift(
        was="    width: int = 6",
        now=f"    size: int = {FORMER}",
        more=("architecture.width", "architecture.size"),
        change="renamed",
        subject="width",
        candidates=("size",),
    ),
    "renamed, not declared": Drift(
        was="    width: int = 6",
        now="    breadth: int = 6",
        more=("architecture.width", "architecture.breadth"),
        change="unknown",
        subject="width",
        candidates=("breadth",),
        answer="RenameField(old='width', new='breadth')",
    ),
    "removed": Drift(was="    rate: float = 0.5\n", now="", change="unknown", subject="rate"),
    "added with a default": Drift(
        was="    rate: float = 0.5\n",
        now="    rate: float = 0.5\n    drop: float = 0.1\n",
        change="new",
        subject="drop",
        severity="warning",
    ),
    "added without a default": Drift(
        was="    rate: float = 0.5\n",
        now="    rate: float = 0.5\n    drop: float\n",
        change="required",
        subject="drop",
        answer="AddField(path='drop', value=0.25)",
    ),
    "type narrowed": Drift(
        was="rate: float = 0.5",
        now="rate: int = 1",
        change="refused",
        subject="rate",
        answer="MapField(path='rate', values=((0.5, 2),))",
    ),
    "choice narrowed": Drift(
        was='Literal["tanh", "relu"] = "tanh"',
        now='Literal["hyperbolic", "relu"] = "relu"',
        change="refused",
        subject="activation",
        candidates=("hyperbolic", "relu"),
        answer="MapField(path='activation', values=(('tanh', 'hyperbolic'),))",
    ),
    "default changed": Drift(
        was="depth: int = 2", now="depth: int = 3", change="default", subject="depth", severity="note"
    ),
    "value out of range": Drift(
        was="rate: float = 0.5",
        now="rate: float = Field(default=1.0, ge=1.0)",
        change="refused",
        subject="rate",
        answer="MapField(path='rate', values=((0.5, 1.5),))",
    ),
    "tag of a union renamed": Drift(
        was='Literal["dense"] = "dense"',
        now='Literal["linear"] = "linear"',
        change="refused",
        subject="encoder.kind",
        candidates=("linear", "conv"),
        answer="MapField(path='encoder.kind', values=(('dense', 'linear'),))",
    ),
    "member of a union lost a field": Drift(
        was="    bias: bool = True\n", now="", change="unknown", subject="encoder.bias"
    ),
    "member of a union got a field": Drift(
        was="    bias: bool = True\n",
        now="    bias: bool = True\n    norm: bool = False\n",
        change="new",
        subject="encoder.norm",
        severity="warning",
    ),
    "member of a union gone": Drift(
        was='Annotated[Conv | Dense, Field(discriminator="kind")] = Dense()',
        now="Conv = Conv()",
        change="refused",
        subject="encoder.kind",
        candidates=("conv",),
        answer=CONV_INSTEAD.format(path="encoder"),
    ),
    "field of a component renamed": Drift(
        was="gain: float = 1.0",
        now="scale: float = 1.0",
        change="unknown",
        subject="head.gain",
        candidates=("scale",),
        answer=HEADS_RENAMED,
    ),
    "field of a component in a list": Drift(
        was="gain: float = 1.0",
        now="scale: float = 1.0",
        change="unknown",
        subject="heads[1].gain",
        candidates=("scale",),
        answer=HEADS_RENAMED,
    ),
    "component replaced by another": Drift(
        was="    head: Head = Head()",
        now="    head: Conv = Conv()",
        change="unknown",
        subject="head.depth",
        candidates=("channels",),
        answer=CONV_INSTEAD.format(path="head"),
    ),
    "component replaced by a number": Drift(
        was="    head: Head = Head()",
        now="    head: int = 1",
        change="refused",
        subject="head",
        answer="MapField(path='head', values=(({'depth': 1, 'gain': 1.0}, 1),))",
    ),
    "one component became a list": Drift(
        was="    head: Head = Head()",
        now="    head: tuple[Head, ...] = (Head(),)",
        change="refused",
        subject="head",
        answer="MapField(path='head', values=(({'depth': 1, 'gain': 1.0}, [{'depth': 1, 'gain': 1.0}]),))",
    ),
    "schema raised and nothing else": Drift(
        was="schema_version: ClassVar[int] = 1",
        now="schema_version: ClassVar[int] = 2",
        change="schema",
        subject="schema_version",
    ),
}


@pytest.fixture
def zoo(tmp_path: Path) -> DriftZoo:
    return make_drift_zoo(tmp_path)


def changed(drift: Drift) -> str:
    assert drift.was in SOURCE
    before, after = drift.more
    source = str(SOURCE.replace(drift.was, drift.now))
    return source.replace(before, after) if before else source


def finished(text: str, answer: str) -> str:
    """Return a draft as a person leaves it: the questions answered, read, and listed."""
    if answer:
        config = f"config=({answer},),\n    tensors"
        text = re.sub(r"config=\(.*?\n    \),\n    tensors", lambda _: config, text, flags=re.DOTALL)
        text = text.replace("import ", "import AddField, DropField, MapField, RenameField, ", 1)
    return text.replace("reviewed=False", "reviewed=True") + "\nREVISIONS = (REVISION,)\n"


def revision(name: str, operations: str = "", *, parents: str = "", reviewed: bool = True) -> str:
    """Return a module with one revision that a person wrote by hand."""
    return (
        "from policy_interface.migrations import *\n"
        f"REVISIONS = (Revision(id={name!r}, parents=({parents}), since='2.0', kinds=('drifting',), summary='',"
        f" reviewed={reviewed}, {operations}),)\n"
    )


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_of_the_config_is_told_and_every_next_command_does_what_it_says(zoo: DriftZoo, name: str) -> None:
    drift = DRIFTS[name]
    zoo.add("2.0.0", changed(drift))
    result = zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--json")
    document = json.loads(result.stdout)
    told = {(f["subject"], f["change"]): f for f in document["findings"] if f["stage"] == "config"}
    found = told[drift.subject, drift.change]
    assert found["severity"] == drift.severity
    assert tuple(found["candidates"]) == drift.candidates
    assert len({subject for subject, _ in told}) == len(told), "one field is told twice"
    assert all(f["evidence"] or f["old"] is not None or f["new"] is not None for f in told.values())
    assert (result.exit_code == 0) == (drift.severity != "error") == document["would_load"]
    assert all(f["next_command"] for f in told.values() if f["severity"] == "error")
    assert not {s["stage"] for s in document["skipped"]} & {"keys", "dimensions", "modules"}
    for command in document["next"]:
        assert zoo.paste(command.replace("revision.py", str(zoo.folder / "revision.py"))).exit_code == 0


@pytest.mark.parametrize("name", DRIFTS)
def test_a_finished_draft_carries_the_checkpoint_over_and_is_proven(zoo: DriftZoo, name: str) -> None:
    drift = DRIFTS[name]
    zoo.add("2.0.0", changed(drift))
    drafted = zoo.run("migrate", "draft", zoo.path, "--to", "2.0.0")
    assert drafted.exit_code == 0
    compile(drafted.stdout, "revision.py", "exec")
    zoo.add("2.0.1", changed(drift), migrations=finished(drafted.stdout, drift.answer))
    target = zoo.folder / "new.mpt"
    result = zoo.run("migrate", zoo.path, "--to", "2.0.1", "-o", target, "--prove", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["proof"]["held"] is True
    assert zoo.run("load", target, "--code", "2.0.1").exit_code == 0


def test_a_question_that_nobody_answered_lets_nothing_through(zoo: DriftZoo) -> None:
    drift = DRIFTS["choice narrowed"]
    zoo.add("2.0.0", changed(drift))
    drafted = zoo.run("migrate", "draft", zoo.path, "--to", "2.0.0")
    zoo.add("2.0.1", changed(drift), migrations=finished(drafted.stdout, ""))
    result = zoo.run("migrate", zoo.path, "--to", "2.0.1", "-o", zoo.folder / "new.mpt")
    assert result.exit_code == 1
    assert not (zoo.folder / "new.mpt").exists()


def test_a_kind_with_another_name_is_looked_at_with_the_nearest_one(zoo: DriftZoo) -> None:
    source = SOURCE.replace('"drifting"', '"drifting_two"')
    zoo.add("2.0.0", source, kind="drifting_two")
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--json").stdout)
    (found,) = (f for f in document["findings"] if f["change"] == "kind")
    assert (found["old"], found["new"]) == ("drifting", "drifting_two")
    assert not {s["stage"] for s in document["skipped"]} & {"keys", "dimensions", "modules"}
    drafted = zoo.run("migrate", "draft", zoo.path, "--to", "2.0.0")
    zoo.add("2.0.1", source, kind="drifting_two", migrations=finished(drafted.stdout, ""))
    assert zoo.run("migrate", zoo.path, "--to", "2.0.1", "-o", zoo.folder / "new.mpt").exit_code == 0
    carried = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.1", "--json").stdout)
    assert carried["would_load"]
    assert {f["severity"] for f in carried["findings"] if f["stage"] != "libraries"} <= {"note"}


def test_a_kind_that_is_gone_is_an_error_with_what_the_code_has(zoo: DriftZoo) -> None:
    zoo.add("2.0.0", SOURCE.replace('"drifting"', '"other"'), kind="other")
    more = "other = drift_zoo:DriftingArchitecture\nstrange"
    zoo.add("3.0.0", SOURCE.replace('"drifting"', '"other"'), kind=more)
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "3.0.0", "--json").stdout)
    (found,) = (f for f in document["findings"] if f["change"] == "kind")
    assert found["candidates"] == ["other", "strange"]
    assert "migrate draft" not in found["next_command"]
    assert zoo.paste(document["next"][0]).exit_code == 0
    refused = zoo.run("migrate", "draft", zoo.path, "--to", "3.0.0")
    assert refused.exit_code == 1
    assert f"mpt diagnose {zoo.path}" in refused.stderr


def test_what_is_left_after_the_reviewed_revisions_is_drafted_from_their_end(zoo: DriftZoo) -> None:
    first = SOURCE.replace("    width: int = 6", "    size: int = 6").replace("architecture.width", "architecture.size")
    written = revision("r1_size", "config=(RenameField(old='width', new='size'),)")
    zoo.add("2.1.0", first.replace("self.inp", "self.stem"), migrations=written)
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.1.0", "--json").stdout)
    errors = {f["subject"] for f in document["findings"] if f["severity"] == "error"}
    assert errors == {"stem.weight", "stem.bias", "inp.weight", "inp.bias"}
    drafted = zoo.run("migrate", "draft", zoo.path, "--to", "2.1.0")
    names: dict[str, Any] = {}
    exec(compile(drafted.stdout, "revision.py", "exec"), names)
    assert names["REVISION"].parents == ("r1_size",)
    assert names["REVISION"].config == ()
    assert {op.old: op.new for op in names["REVISION"].tensors} == {"inp.{leaf}": "stem.{leaf}"}


@pytest.mark.parametrize(
    ("parents", "reviewed"), [("'r9_lost',", True), ("'r1_x',", True), ("", False)], ids=["lost", "cycle", "draft"]
)
def test_a_draft_beside_a_broken_history_is_refused_and_names_the_check(
    zoo: DriftZoo, parents: str, reviewed: bool
) -> None:
    written = revision("r1_x", parents=parents, reviewed=reviewed)
    zoo.add("2.0.0", SOURCE.replace("self.inp", "self.stem"), migrations=written)
    refused = zoo.run("migrate", "draft", zoo.path, "--to", "2.0.0")
    assert refused.exit_code == 1
    assert "r1_x" in refused.stderr
    command = refused.stderr.rpartition("Run: ")[2].strip()
    shown = zoo.paste(command)
    assert "r1_x" in shown.output or shown.exit_code == 0
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--json").stdout)
    assert document["next"]
    assert not any("migrate draft" in each for each in document["next"])


def test_a_revision_that_is_too_narrow_is_told_and_names_no_command_that_says_the_same_again(zoo: DriftZoo) -> None:
    written = revision("r1_rate", "config=(DropField(path='rate', reason='it was never read', only=0.25),)")
    zoo.add("2.0.0", SOURCE.replace("    rate: float = 0.5\n", ""), migrations=written)
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--json").stdout)
    (found,) = (f for f in document["findings"] if f["stage"] == "revisions")
    assert all(part in found["message"] for part in ("rate", "0.5", "0.25"))
    assert not any(command.startswith(("mpt diagnose", "mpt migrate")) for command in document["next"])
    assert [zoo.paste(command).exit_code for command in document["next"]] == [0]
    for arguments in (("migrate", zoo.path, "-o", zoo.folder / "new.mpt"), ("migrate", "draft", zoo.path)):
        refused = zoo.run(*arguments, "--to", "2.0.0")
        assert refused.exit_code == 1
        assert zoo.paste(refused.stderr.rpartition("Run: ")[2].strip()).exit_code == 0


def test_a_revision_whose_tensors_do_not_fit_leads_from_the_migration_to_the_diagnosis_and_on(zoo: DriftZoo) -> None:
    written = revision("r1_stem", "tensors=(Rename(old='root.{leaf}', new='stem.{leaf}'),)")
    zoo.add("2.0.0", SOURCE.replace("self.inp", "self.stem"), migrations=written)
    refused = zoo.run("migrate", zoo.path, "--to", "2.0.0", "-o", zoo.folder / "new.mpt")
    assert refused.exit_code == 1
    first = zoo.paste(refused.stderr.rpartition("Run: ")[2].strip())
    assert "root.{leaf}" in first.stdout
    command = first.stdout.rpartition("next:")[2].strip()
    assert not command.startswith("mpt diagnose")
    assert zoo.paste(command).exit_code == 0


def test_a_parameter_that_a_draft_drops_is_asked_for_by_the_check(zoo: DriftZoo) -> None:
    source = SOURCE.replace("rules.actions.logit_count)", "rules.actions.logit_count, bias=False)")
    zoo.add("2.0.0", source)
    drafted = zoo.run("migrate", "draft", zoo.path, "--to", "2.0.0", "--no-trial")
    text = drafted.stdout.replace('summary=""', 'summary="The head has no bias."')
    zoo.add("2.0.1", source, migrations=finished(text, ""))
    found = zoo.run("migrate", "check", "--distribution", "drift-zoo", "--code", "2.0.1")
    assert found.exit_code == 1
    assert [line.partition(": ")[2][:21] for line in found.stderr.splitlines()] == ["the Drop of 'out.bias"]


@pytest.mark.parametrize(
    ("was", "now", "unseen"),
    [
        ("torch.tanh(self.inp(", "torch.sigmoid(self.inp(", True),
        ("class Drifting(nn.Module", TURNED + "class Drifting(nn.Module", False),
    ],
    ids=["a function", "another class of module"],
)
def test_only_the_witness_is_said_to_show_a_change_where_no_stage_before_it_does(
    zoo: DriftZoo, was: str, now: str, unseen: bool
) -> None:
    source = SOURCE.replace(was, now)
    zoo.add("2.0.0", source if unseen else source.replace("self.inp = nn.Linear(", "self.inp = Turned("))
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--json").stdout)
    found = [f for f in document["findings"] if f["stage"] == "behaviour"]
    assert found
    assert {bool(f["evidence"]) for f in found} == {unseen}
    assert any(f["stage"] == "modules" for f in document["findings"]) != unseen
    assert not document["would_load"]
