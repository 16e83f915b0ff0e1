"""Diagnosis: every stage in one report, each finding with its evidence, and a verdict that is what loading does."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from app_loader import load_policy
from app_loader.diagnosis import Diagnosis, Finding, diagnose
from app_loader.diagnosis.explain import Sizes
from app_loader.diagnosis.finding import STAGES
from app_loader.diagnosis.html import to_html
from app_loader.diagnosis.text import to_markdown, to_text
from app_loader.errors import LoaderError
from history_zoo import RULES, revisions_source
from policy_interface import DiscreteActions


def subjects(found: tuple[Finding, ...]) -> set[str]:
    return {finding.subject for finding in found}


def without_history(zoo: Any, version: str = "0.3.1") -> Diagnosis:
    zoo.add(version)
    return diagnose(zoo.save("0.1.0"), code=version, store=zoo.store)


def test_a_checkpoint_and_its_own_code_have_no_difference_that_matters(zoo: Any) -> None:
    found = diagnose(zoo.save("0.1.0"), code="trained", store=zoo.store)
    assert found.would_load
    assert found.clean


def test_every_stage_is_looked_at_when_the_first_ones_fail(zoo: Any) -> None:
    found = without_history(zoo)
    assert not found.would_load
    assert {"config", "keys", "modules"} <= {f.stage for f in found.findings}


def test_a_renamed_field_is_found_among_the_unknown_ones(zoo: Any) -> None:
    assert {"schema_version", "width", "size"} <= subjects(without_history(zoo).of_stage("config"))


def test_missing_keys_say_what_they_are_made_of(zoo: Any) -> None:
    found = {f.subject: f for f in without_history(zoo).of_stage("keys")}
    assert found["inp.weight"].candidates[0] == "inp.net.weight"
    joined = found["qkv.weight"].candidates
    assert joined[:3] == ("query.weight", "key.weight", "value.weight")


def test_an_equal_key_in_a_longer_list_is_not_taken_for_the_same_tensor(zoo: Any) -> None:
    found = without_history(zoo)
    confidence = {match.new: match.confidence for match in found.matches}
    assert confidence["layers.0.weight"] == "abstain"
    assert confidence["layers.1.weight"] == "abstain"


def test_what_revisions_make_of_each_tensor_is_told_in_place_of_guesses(zoo: Any) -> None:
    found = diagnose(zoo.save("0.1.0"), code="0.3.0", store=zoo.store)
    assert found.would_load
    told = {finding.subject: finding for finding in found.of_stage("keys")}
    assert {finding.severity for finding in told.values()} == {"note"}
    assert "inp.net.weight" in told["inp.weight"].message
    assert not subjects(found.of_stage("keys")) & {tensor.key for tensor in found.old} - {t.key for t in found.new}
    sources = {match.new: match.old for match in found.matches}
    assert sources["inp.weight"] == "inp.net.weight"
    assert sources["layers.1.weight"] == "layers.0.weight"


def test_followed_revisions_are_told_and_the_verdict_is_that_it_loads(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    found = diagnose(path, code="0.3.0", store=zoo.store)
    assert found.would_load
    assert found.revisions == ("r1_unwrap", "r2_join")
    assert subjects(found.of_stage("revisions")) == {"r1_unwrap", "r2_join"}


def test_an_unreviewed_draft_is_a_finding(zoo: Any) -> None:
    zoo.add("0.3.2", revisions=revisions_source(reviewed=False))
    found = diagnose(zoo.save("0.1.0"), code="0.3.2", store=zoo.store)
    assert not found.would_load
    assert found.of_stage("revisions")[0].severity == "error"


def test_a_silent_change_is_found_by_the_behaviour_stage_alone(zoo: Any) -> None:
    zoo.add("0.2.1", twist=".flip(-1)")
    found = diagnose(zoo.save("0.2.0"), code="0.2.1", store=zoo.store)
    assert not found.would_load
    assert {f.stage for f in found.findings if f.severity == "error"} == {"behaviour"}
    assert {"logits", "value"} <= subjects(found.of_stage("behaviour"))


def test_the_action_count_explains_a_dimension(zoo: Any) -> None:
    more = RULES.model_copy(update={"actions": DiscreteActions.of("left", "stay", "right", "up", "down")})
    found = Sizes.of({}, {}, RULES, more).explain(3, 5)
    assert found == ["the action count 3 -> 5"]
    assert Sizes({"config.width": 8}, {"config.width": 12}).explain(24, 36) == ["3 x config.width 8 -> 12"]


def test_rules_are_compared_by_name(zoo: Any) -> None:
    today = RULES.model_copy(update={"actions": DiscreteActions.of("right", "left", "stay")})
    found = diagnose(zoo.save("0.1.0"), code="trained", rules=today, store=zoo.store)
    assert subjects(found.of_stage("rules")) == {"action left", "action stay", "action right"}


def test_the_verdict_is_what_loading_does(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    for code in ("trained", "0.2.0", "0.3.0"):
        try:
            load_policy(path, code=code, store=zoo.store)
            loads = True
        except LoaderError:
            loads = False
        assert diagnose(path, code=code, store=zoo.store).would_load == loads


def test_code_that_raises_while_the_witness_is_replayed_is_told(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("what this torch no longer does")

    monkeypatch.setattr("app_loader.load.check_witness", fail)
    found = diagnose(zoo.save("0.1.0"), code="trained", store=zoo.store)
    assert not found.would_load
    assert "what this torch no longer does" in found.refusal
    assert "behaviour" in dict(found.skipped)


def test_code_that_is_not_at_hand_is_a_finding(zoo: Any) -> None:
    found = diagnose(zoo.save("0.1.0"), code="9.9", store=zoo.store)
    assert not found.would_load
    assert found.of_stage("config")[0].subject == "code"


def test_a_damaged_file_is_a_finding_and_not_an_exception(zoo: Any) -> None:
    path = zoo.folder / "broken.mpt"
    path.write_bytes(b"PK no archive")
    found = diagnose(path, store=zoo.store)
    assert not found.would_load
    assert found.findings[0].stage == "format"
    assert {stage for stage, _ in found.skipped} == set(STAGES) - {"format"}
    assert all("\n" not in finding.message for finding in found.findings)


@pytest.mark.parametrize("render", [to_text, to_markdown, to_html], ids=lambda f: f.__name__)
def test_every_report_names_every_key_that_differs(zoo: Any, render: Any) -> None:
    found = without_history(zoo)
    text = render(found)
    assert all(finding.subject in text for finding in found.of_stage("keys")[:8])


@pytest.mark.parametrize("render", [to_text, to_markdown, to_html], ids=lambda f: f.__name__)
def test_no_text_of_an_archive_steers_a_terminal_or_becomes_markup_of_a_report(zoo: Any, render: Any) -> None:
    evil = "\x1b[2J`<script>x</script>![](https://127.0.0.1/)|\u202e\n# x"
    found = without_history(zoo)
    first, *others = found.findings
    hostile = replace(first, subject=evil, message=evil, old=evil, new=evil, evidence=(evil,), candidates=(evil,))
    text = render(replace(found, findings=(hostile, *others), written_by=evil))
    if render is to_html:
        assert "<script>x" not in text
        return
    assert {"\x1b", "\u202e"}.isdisjoint(text)
    if render is to_markdown:
        assert "\n# x" not in text
        outside_of_code = re.sub(r"(?<!\\)`[^`\n]*`", "", text)
        assert not re.search(r"<script|(?<!\\)!\[", outside_of_code)


@pytest.mark.parametrize("render", [to_text, to_markdown, to_html], ids=lambda f: f.__name__)
def test_every_report_of_a_refusal_says_what_to_run(zoo: Any, render: Any) -> None:
    found = without_history(zoo)
    assert found.next_commands()
    text = html.unescape(render(found))
    assert all(command in text for command in found.next_commands()[:4])


def test_a_module_of_the_page_is_same_only_where_nothing_below_it_changed(zoo: Any) -> None:
    found = without_history(zoo)
    kept = {match.new for match in found.matches if match.old == match.new and match.confidence == "auto"}
    page = to_html(found)
    after = page.partition('<ul class="tree new">')[2].partition("</ul>")[0]
    tops = re.findall(r'<li class="module( same)?" style="padding-left:0.3em">(\w+)', after)
    assert {same for same, _ in tops} == {" same", ""}
    for same, name in tops:
        below = {tensor.key for tensor in found.new if tensor.key.partition(".")[0] == name}
        assert bool(same) == (below <= kept)


def test_a_tensor_of_another_shape_is_no_same_one_on_the_page(zoo: Any) -> None:
    found = without_history(zoo)
    kept = next(m for m in found.matches if m.old == m.new and m.confidence == "auto" and m.op == "copy")
    wider = tuple(replace(t, shape=(7, *t.shape)) if t.key == kept.new else t for t in found.new)
    assert f'<li class="same" data-key="{kept.new}"' in to_html(found)
    assert to_html(replace(found, new=wider)).count(f'<li class="resized" data-key="{kept.new}"') == 2


def test_the_html_report_fetches_nothing_and_escapes_what_an_archive_says(zoo: Any) -> None:
    path = zoo.save("0.1.0", "<script>alert(1)<run>.mpt".replace("/", ""))
    text = to_html(diagnose(path, code="0.3.0", store=zoo.store))
    assert "<script>alert" not in text
    assert "default-src 'none'" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_the_json_report_is_json(zoo: Any) -> None:
    document = json.loads(json.dumps(without_history(zoo).to_document()))
    assert document["would_load"] is False
    assert document["counts"]["error"] > 0


def test_a_shared_library_outside_the_range_that_the_code_asks_for_is_a_finding():
    from app_loader.diagnosis.libraries_stage import judge_ranges
    from app_loader.store.shared import judge_shared_libraries

    judged = judge_shared_libraries(["torch<1", "numpy"], [], {"torch": "0.9"})
    (finding,) = judge_ranges([each for each in judged if not each.met], "zoo 1.0")
    assert (finding.severity, finding.subject, finding.old) == ("warning", "torch", "0.9")
    assert finding.new is not None
    assert "<1" in finding.message
