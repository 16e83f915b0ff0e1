"""The command: sections, JSON, reports, pages, exit codes, many files, generators."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from mpt_format import audit_checkpoint, convert_checkpoint
from mpt_format.cli.audit import audit

from .corpus import Stage

GENERATORS = ["blending", "holding", "legacy", "morphogenetic", "ppo"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(2, 3)}, tmp_path / "good.pt")
    torch.save({"stage": Stage.TRAINING}, tmp_path / "enum.pt")
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:-40])
    (tmp_path / "page.pt").write_text("<!doctype html><html></html>")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code"),
    [("good.pt", 0), ("enum.pt", 1), ("evil.pkl", 3), ("cut.pt", 4), ("page.pt", 4), ("missing.pt", 4)],
)
def test_exit_code_says_the_verdict(folder: Path, name: str, code: int) -> None:
    assert run(folder / name).exit_code == code


def test_exit_code_of_many_files_is_the_worst(folder: Path) -> None:
    assert run(folder / "good.pt", folder / "enum.pt").exit_code == 1
    assert run(folder / "good.pt", folder / "cut.pt").exit_code == 4
    assert run(folder).exit_code == 3


def test_nothing_to_audit_is_a_usage_error(tmp_path: Path) -> None:
    assert run().exit_code == 2
    assert run(tmp_path / "no" / "*.pt").exit_code == 4 or run(tmp_path / "*.none").exit_code == 2


def test_text_has_the_five_sections(folder: Path) -> None:
    output = run(folder / "enum.pt").output
    places = [output.index(f"\n{number}. ") for number in range(1, 6)]
    assert places == sorted(places)
    assert "root['stage']" in output


def test_json_has_the_documented_shape(folder: Path) -> None:
    document = json.loads(run("--json", folder / "enum.pt").output)
    assert document["verdict"] == "incompatible"
    assert document["container"] == "torch-zip"
    assert document["torch"]["2.9"]["loads"] is False
    finding = document["findings"][0]
    assert set(finding) >= {"path", "kind", "global", "offset", "count", "severity", "hint"}
    assert (finding["path"], finding["kind"]) == ("root['stage']", "enum")
    assert document["top_level"] == [{"key": "'stage'", "type": finding["global"]}]
    assert document["limits_hit"] == []


def test_json_of_many_files_is_a_list_with_errors_in_it(folder: Path) -> None:
    documents = json.loads(run("--json", folder / "good.pt", folder / "missing.pt").stdout)
    assert [set(document) >= {"file"} for document in documents] == [True, True]
    assert "error" in documents[1]


def test_top_level_of_a_state_dict_has_shapes(folder: Path) -> None:
    document = json.loads(run("--json", folder / "good.pt").output)
    assert document["top_level"] == [{"key": "'w'", "type": "Tensor", "shape": [2, 3], "dtype": "float32"}]


def test_report_and_page_are_written_and_hold_every_file(folder: Path) -> None:
    report, page = folder / "out" / "findings.md", folder / "out" / "findings.html"
    report.parent.mkdir()
    run(folder / "good.pt", folder / "enum.pt", folder / "evil.pkl", "--report", report, "--html", page)
    text, html = report.read_text(), page.read_text()
    for heading in (
        "## Environment",
        "## Summary",
        "### Top level",
        "### Findings",
        "### Conversion",
        "### What to change",
    ):
        assert heading in text
    for name in ("good.pt", "enum.pt", "evil.pkl"):
        assert name in text and name in html
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert "<details" in html and "root" in html


def test_text_from_a_file_cannot_leave_its_place_in_a_page(tmp_path: Path) -> None:
    torch.save({"<script>alert(1)</script>\x1b[31m|": Stage.TRAINING}, tmp_path / "x.pt")
    run(tmp_path / "x.pt", "--html", tmp_path / "x.html", "--report", tmp_path / "x.md")
    assert "<script>" not in (tmp_path / "x.html").read_text()
    assert "<script>" not in (tmp_path / "x.md").read_text()
    assert "\x1b" not in run(tmp_path / "x.pt").output


def test_globs_and_folders_are_expanded_once(folder: Path) -> None:
    documents = json.loads(run("--json", folder / "*.pt", folder / "good.pt").stdout)
    assert sorted(Path(document["file"]).name for document in documents) == ["cut.pt", "enum.pt", "good.pt", "page.pt"]


def test_a_file_for_which_memory_does_not_suffice_is_named_and_the_others_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(name: str, **options: Any) -> Any:
        if name.endswith("enum.pt"):
            raise MemoryError
        return audit_checkpoint(name, **options)

    monkeypatch.setattr("mpt_format.audit.audit_checkpoint", read)
    done = run("--json", folder / "good.pt", folder / "enum.pt", folder / "page.pt")
    documents = json.loads(done.stdout)
    assert [("error" in document) for document in documents] == [False, True, False]
    assert done.exit_code == 4


def test_limit_that_is_hit_is_named_and_the_file_is_not_called_ok(folder: Path) -> None:
    document = json.loads(run("--json", "--max-opcodes", "3", folder / "good.pt").output)
    assert document["limits_hit"][0].startswith("opcodes")
    assert document["verdict"] == "suspicious"


def test_audit_does_not_import_torch_or_run_code_of_the_zoo(folder: Path) -> None:
    script = (
        "import sys\nfrom mpt_format import audit_checkpoint\naudit_checkpoint(sys.argv[1])\n"
        "assert not {'torch', 'numpy', 'model_zoo', 'rich', 'jinja2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, folder / "enum.pt"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_checkpoint_is_refused_converted_and_then_ok(tmp_path: Path, name: str) -> None:
    source = tmp_path / "careless.pt"
    assert run("--generate", name, "-o", source).exit_code == 0
    with pytest.raises(Exception, match=r"Unsupported|weights_only|Weights only"):
        torch.load(source, weights_only=True)
    document = json.loads(run("--json", source).output)
    assert document["verdict"] == "incompatible"
    options: dict[str, Any] = {"as_fields": True, "state_path": "root['model_state_dict']"}
    if name in ("ppo", "legacy"):
        options["drop"] = ["root['scheduler']"]
    done = convert_checkpoint(source, tmp_path / "clean.mpt", **options)
    assert done.audit.verdict == "ok"
    assert run(tmp_path / "clean.mpt").exit_code == 0
    assert len(done.losses) > 3


def test_morphogenetic_checkpoint_shows_every_type_that_the_seed_keeps(tmp_path: Path) -> None:
    run("--generate", "morphogenetic", "-o", tmp_path / "m.pt")
    document = json.loads(run("--json", tmp_path / "m.pt").output)
    state = "root['model_state_dict']['slots.mid._extra_state']['seed_state']"
    kinds = {finding["path"]: finding["kind"] for finding in document["findings"]}
    assert kinds[state] == "object"
    assert kinds[f"{state}.stage"] == "enum"
    assert kinds[f"{state}.entered_at"] == "datetime"
    assert kinds[f"{state}.history"] == "deque"
    assert kinds[f"{state}.alpha_schedule"] == "nn.Module"


def test_generators_are_listed_and_unknown_ones_refused(tmp_path: Path) -> None:
    assert run("--generate", "list").output.split() == GENERATORS
    assert run("--generate", "nothing", "-o", tmp_path / "x.pt").exit_code == 2
    assert run("--generate", "ppo").exit_code == 2


def test_zoos_own_archive_is_ok(tmp_path: Path) -> None:
    museum = sorted((Path(__file__).parents[3] / "museum").rglob("*.mpt"))
    assert museum
    assert run("--summary", *museum[:20]).exit_code == 0


def test_unreadable_file_is_reported_and_the_others_are_audited(folder: Path) -> None:
    if os.geteuid() == 0:
        (folder / "enum.pt").unlink()
        (folder / "enum.pt").symlink_to(folder / "enum.pt")
    else:
        (folder / "enum.pt").chmod(0)
    result = run("--json", folder / "good.pt", folder / "enum.pt")
    documents = json.loads(result.stdout)
    assert documents[0]["verdict"] == "ok"
    assert "error" in documents[1]


def test_findings_that_are_not_listed_are_counted_everywhere(tmp_path: Path) -> None:
    when = datetime.date(2026, 1, 2)
    torch.save([datetime.date.fromordinal(when.toordinal() + at) for at in range(1100)], tmp_path / "many.pt")
    audit = audit_checkpoint(tmp_path / "many.pt")
    assert (len(audit.findings), audit.finding_count) == (1000, 1100)
    assert audit.totals["findings"] == {"incompatible": 1100}
    run(tmp_path / "many.pt", "--html", tmp_path / "x.html", "--report", tmp_path / "x.md")
    assert "1100" in (tmp_path / "x.html").read_text() and "1100" in (tmp_path / "x.md").read_text()


def test_branches_of_the_page_that_lead_to_a_finding_are_open(tmp_path: Path) -> None:
    quiet = {"deep": {"deeper": [1, 2]}}
    torch.save({"quiet": quiet, "loud": {"inner": [datetime.date(2026, 1, 2)]}}, tmp_path / "x.pt")
    run(tmp_path / "x.pt", "--html", tmp_path / "x.html")
    opened = {}
    for branch in (tmp_path / "x.html").read_text().split("<details")[1:]:
        label = branch.partition("<span>")[2].partition("</span>")[0]
        opened[label.strip("[]").replace("&#39;", "")] = branch.startswith(" open")
    expected = {"root": True, "quiet": False, "deep": False, "deeper": False, "loud": True, "inner": True}
    assert {label: opened[label] for label in expected} == expected


def test_refusal_names_a_missing_file_once(tmp_path: Path) -> None:
    result = run(tmp_path / "missing.pt")
    assert result.output.count("missing.pt") == 1
