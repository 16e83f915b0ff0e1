"""Every kind of rules drift, end to end: followed by name where nothing else changed, refused by name otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import load_policy
from drift_zoo import RULES, SOURCE, DriftZoo, make_drift_zoo
from policy_interface import (
    ActionAxis,
    DictLayout,
    DiscreteActions,
    Feature,
    GameRules,
    MultiDiscreteActions,
    RulesMismatchError,
)

POSITION, SPEED, FUEL = RULES.features


def other(**changes: Any) -> GameRules:
    changed: GameRules = RULES.model_copy(update=changes)
    return changed


def placed(feature: Feature, number: int, **changes: Any) -> Feature:
    return feature.model_copy(update={"id": number, **changes})


FOLLOWED = {
    "features renumbered": other(features=(placed(FUEL, 0), placed(POSITION, 1), placed(SPEED, 2))),
    "ids with gaps": other(features=(POSITION, placed(SPEED, 5), placed(FUEL, 9))),
    "rescaled": other(features=(placed(POSITION, 0, scale=8.0), SPEED, FUEL)),
    "renumbered and rescaled": other(features=(placed(SPEED, 0), placed(POSITION, 1, scale=8.0), FUEL)),
    "actions renumbered": other(actions=DiscreteActions.of("right", "left", "stay")),
}
REFUSED: dict[str, tuple[GameRules, str, tuple[str, ...]]] = {
    "action added": (other(actions=DiscreteActions.of("left", "stay", "right", "jump")), "action jump", ()),
    "action removed": (other(actions=DiscreteActions.of("left", "stay")), "action right", ()),
    "action renamed": (other(actions=DiscreteActions.of("left", "wait", "right")), "action stay", ("wait",)),
    "feature added": (other(features=(*RULES.features, Feature(name="heat", id=3))), "feature heat", ()),
    "feature removed": (other(features=(POSITION, SPEED)), "feature fuel", ()),
    "feature renamed": (
        other(features=(POSITION, Feature(name="velocity", id=1), FUEL)),
        "feature speed",
        ("velocity",),
    ),
    "shape changed": (other(features=(placed(POSITION, 0, shape=(3,)), SPEED, FUEL)), "feature position", ()),
    "type changed": (other(features=(POSITION, SPEED, placed(FUEL, 2, dtype="uint8"))), "feature fuel", ()),
    "bounds changed": (other(features=(POSITION, SPEED, placed(FUEL, 2, low=0.0))), "feature fuel", ()),
    "layout changed": (other(layout=DictLayout()), "layout vector", ()),
    "kind of action changed": (
        other(actions=MultiDiscreteActions(axes=(ActionAxis(name="move", id=0, choices=RULES.actions.choices),))),
        "action kind",
        (),
    ),
}
DOCUMENT = RULES.to_document()
FIRST = DOCUMENT["features"][0]
NO_RULES: dict[str, Any] = {
    "feature twice": {**DOCUMENT, "features": [*DOCUMENT["features"], {**FIRST, "id": 3}]},
    "id twice": {**DOCUMENT, "features": [*DOCUMENT["features"], {**FIRST, "name": "again"}]},
    "action twice": json.loads(RULES.to_json().replace('"stay"', '"left"')),
    "actions out of order": json.loads(RULES.to_json().replace('"id":0,"name":"left"', '"id":1,"name":"left"')),
    "no mapping": [1, 2],
    "no actions": {key: value for key, value in DOCUMENT.items() if key != "actions"},
}


@pytest.fixture
def zoo(tmp_path: Path) -> DriftZoo:
    return make_drift_zoo(tmp_path)


def written(zoo: DriftZoo, rules: GameRules | Any) -> Path:
    file: Path = zoo.folder / "today.json"
    file.write_text(rules.to_json() if isinstance(rules, GameRules) else json.dumps(rules))
    return file


def in_order(rules: GameRules, position: torch.Tensor, speed: torch.Tensor, fuel: torch.Tensor) -> torch.Tensor:
    """Return one observation as these rules lay it out; the same game, whatever the order and the scale."""
    parts = {"position": position, "speed": speed, "fuel": fuel}
    scaled = [parts[f.name] * f.scale for f in rules.features]
    return torch.cat(scaled, dim=-1)


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_renumbering_or_rescaling_is_followed_by_name(zoo: DriftZoo, name: str) -> None:
    today = FOLLOWED[name]
    seen = torch.rand(16, 2), torch.rand(16, 1), torch.rand(16, 1)
    old = load_policy(zoo.path, store=zoo.store)
    new = load_policy(zoo.path, store=zoo.store, rules=today)
    before, after = old.act(in_order(RULES, *seen), {}), new.act(in_order(today, *seen), {})
    names = RULES.actions.names, today.actions.names
    assert [names[0][i] for i in before.action] == [names[1][i] for i in after.action]
    result = zoo.run("diagnose", zoo.path, "--code", "trained", "--rules", written(zoo, today), "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    rules = [f for f in document["findings"] if f["stage"] == "rules"]
    assert {f["severity"] for f in rules} == {"warning"}
    assert all(f["evidence"] for f in rules)
    assert {zoo.paste(f["next_command"]).exit_code for f in rules} == {0}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_name_and_the_next_command_plays_the_old_game(zoo: DriftZoo, name: str) -> None:
    today, subject, candidates = REFUSED[name]
    with pytest.raises(RulesMismatchError) as caught:
        load_policy(zoo.path, store=zoo.store, rules=today)
    assert subject in {f"{change.subject} {change.name}" for change in caught.value.comparison.changes}
    file = written(zoo, today)
    refused = zoo.run("load", zoo.path, "--rules", file)
    assert refused.exit_code == 1
    assert "Traceback" not in refused.stderr
    shown = zoo.paste(refused.stderr.rpartition("Run: ")[2])
    assert shown.exit_code == 1
    result = zoo.run("diagnose", zoo.path, "--code", "trained", "--rules", file, "--json")
    document = json.loads(result.stdout)
    found = [f for f in document["findings"] if f["subject"] == subject and f["stage"] == "rules"]
    assert result.exit_code == 1
    assert {f["severity"] for f in found} == {"error"}
    assert all(f["evidence"] for f in found)
    assert tuple(found[0]["candidates"]) == candidates
    assert document["next"]
    assert {zoo.paste(command).exit_code for command in document["next"]} == {0}


@pytest.mark.parametrize("name", REFUSED)
def test_a_revision_is_asked_for_only_where_an_operation_says_the_change(zoo: DriftZoo, name: str) -> None:
    today, subject, candidates = REFUSED[name]
    result = zoo.run("diagnose", zoo.path, "--code", "trained", "--rules", written(zoo, today), "--json")
    (found, *_) = (f for f in json.loads(result.stdout)["findings"] if f["subject"] == subject)
    asked = any("would need" in sentence for sentence in found["evidence"])
    assert asked == (
        subject.startswith("action ") and not candidates and found["message"].endswith(("added", "removed"))
    )
    assert json.loads(result.stdout)["would_load"] is False


def test_what_no_observation_depends_on_is_a_note(zoo: DriftZoo) -> None:
    file = written(zoo, other(agents=4, tags=("arena",)))
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "trained", "--rules", file, "--json").stdout)
    assert document["would_load"]
    assert {f["severity"] for f in document["findings"] if f["stage"] == "rules"} == {"note"}


@pytest.mark.parametrize("name", NO_RULES)
@pytest.mark.parametrize("verb", ["diagnose", "load"])
def test_what_are_no_rules_is_a_usage_error(zoo: DriftZoo, verb: str, name: str) -> None:
    result = zoo.run(verb, zoo.path, "--rules", written(zoo, NO_RULES[name]))
    assert result.exit_code == 2
    assert "today.json" in result.stderr


def test_beside_code_that_does_not_fit_the_rules_are_followed_by_the_trained_code(zoo: DriftZoo) -> None:
    zoo.add("2.0.0", SOURCE.replace("self.inp", "self.stem"))
    file = written(zoo, FOLLOWED["actions renumbered"])
    document = json.loads(zoo.run("diagnose", zoo.path, "--code", "2.0.0", "--rules", file, "--json").stdout)
    assert not document["would_load"]
    (command,) = (each for each in document["next"] if "--rules" in each)
    assert zoo.paste(command).exit_code == 0
