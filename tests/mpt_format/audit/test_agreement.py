"""The audit says what torch does, and its paths lead where they say: on every case of the corpus."""

from __future__ import annotations

import collections
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mpt_format.audit import audit_bytes
from mpt_format.audit._torch_table import load_rules

from .agreement import Comparison, compare, running_version
from .corpus import VALUES, Case, all_cases

_TOOLS = Path(__file__).parents[3] / "packages" / "mpt-format" / "tools"


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    return [compare(case) for case in all_cases()]


def test_verdict_equals_what_the_installed_torch_does(comparisons: list[Comparison]) -> None:
    assert [c.case.name for c in comparisons if not c.agrees] == []
    assert len(comparisons) > 1000


def test_corpus_has_loading_and_refused_files_in_every_torch_container(comparisons: list[Comparison]) -> None:
    seen = {(c.case.container, c.loads) for c in comparisons}
    assert {("zip", True), ("zip", False), ("legacy", True), ("legacy", False)} <= seen


def test_reason_is_the_one_that_torch_gives(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        reason = comparison.audit.torch[running_version()].reason or ""
        if reason.startswith("Unsupported global"):
            assert reason in comparison.error, comparison.case.name


def test_no_plain_file_of_torch_save_is_called_malformed_or_dangerous(comparisons: list[Comparison]) -> None:
    written = [c for c in comparisons if c.case.container != "pickle" and c.case.protocol >= 1]
    verdicts = {c.case.name: c.audit.verdict for c in written}
    assert [
        name for name, verdict in verdicts.items() if verdict in ("malformed", "dangerous", "suspicious", "notckpt")
    ] == []


def test_table_of_rules_is_true_for_the_installed_torch() -> None:
    rules = _TOOLS.parent / "src" / "mpt_format" / "audit" / "torch_rules.json"
    done = subprocess.run(
        [sys.executable, str(_TOOLS / "extract_torch_rules.py"), str(rules), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_table_of_rules_begins_at_the_lowest_supported_torch_and_reaches_the_installed_one() -> None:
    versions = [".".join(version.split(".")[:2]) for version in load_rules()]
    assert versions[0] == "2.9"
    assert running_version() in versions


def _offenders(root: Any) -> dict[int, Any]:
    """Objects inside `root` that no torch version loads, found by walking the live object."""
    bad = (collections.deque, dataclasses.Field)
    found: dict[int, Any] = {}
    seen: set[int] = set()
    pending = [root]
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, torch.Tensor):
            continue
        seen.add(id(value))
        module = type(value).__module__
        if isinstance(value, bad) or dataclasses.is_dataclass(value) or module.endswith("audit.corpus"):
            found[id(value)] = value
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset | collections.deque):
            pending.extend(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            pending.extend(getattr(value, field.name) for field in dataclasses.fields(value))
    return found


def _cases(container: str, protocol: int) -> list[Case]:
    return [case for case in all_cases() if case.container == container and case.protocol == protocol]


@pytest.mark.parametrize(("container", "protocol"), [("zip", 2), ("legacy", 2), ("pickle", 4), ("pickle", 0)])
def test_every_path_leads_to_an_object_of_the_kind_that_the_finding_names(container: str, protocol: int) -> None:
    checked = 0
    for case in _cases(container, protocol):
        audit = audit_bytes(case.data, name=case.name)
        for finding in audit.findings:
            for path in (finding.path, *finding.also_at):
                if path is None or "<" in path or ".flat" in path or finding.kind in ("function", "class"):
                    continue
                value = eval(path, {"root": case.value})
                if finding.kind == "enum":
                    assert type(value).__name__ == str(finding.name).rpartition(".")[2], (case.name, path)
                elif finding.kind in ("object", "namedtuple", "deque", "defaultdict", "datetime", "dict subclass"):
                    full = f"{type(value).__module__}.{type(value).__qualname__}"
                    assert full == finding.name, (case.name, path)
                checked += 1
    assert checked > 30


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_offender_of_the_live_object_has_a_finding_with_its_path(container: str) -> None:
    for case in _cases(container, 2):
        audit = audit_bytes(case.data, name=case.name)
        reached = set()
        for finding in audit.findings:
            for path in (finding.path, *finding.also_at):
                if path is not None and "<" not in path and ".flat" not in path:
                    reached.add(id(eval(path, {"root": case.value})))
        missing = [value for key, value in _offenders(case.value).items() if key not in reached]
        assert missing == [], case.name


def test_answer_is_plain_json_for_every_case() -> None:
    for case in _cases("zip", 2):
        document = json.loads(json.dumps(audit_bytes(case.data, name=case.name).to_json()))
        assert set(document) >= {
            "file",
            "container",
            "verdict",
            "torch",
            "findings",
            "top_level",
            "totals",
            "limits_hit",
        }


def test_one_value_of_every_kind_in_the_issue_is_in_the_corpus() -> None:
    assert len(VALUES) > 80
