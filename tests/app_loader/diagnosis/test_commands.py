"""`mpt diagnose` and `mpt migrate`: exit codes, files, and what they refuse."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from history_zoo import Zoo, revisions_source
from mpt_format import open_archive
from mpt_format.cli import mpt


def run(zoo: Zoo, *arguments: Any) -> Result:
    return CliRunner().invoke(mpt, [*map(str, arguments), "--store", str(zoo.store.path)])


def test_diagnose_tells_by_its_exit_code_whether_it_would_load(zoo: Zoo) -> None:
    path = zoo.save("0.1.0")
    assert run(zoo, "diagnose", path, "--code", "0.3.0").exit_code == 0
    assert run(zoo, "diagnose", path, "--code", "0.2.0").exit_code == 1


@pytest.mark.parametrize("suffix", ["md", "html"])
def test_diagnose_writes_a_report(zoo: Zoo, suffix: str) -> None:
    target = zoo.folder / f"why.{suffix}"
    result = run(zoo, "diagnose", zoo.save("0.1.0"), "--code", "0.2.0", "--report", target)
    assert result.exit_code == 1
    assert "inp.net.weight" in target.read_text()


def test_diagnose_prints_json_with_every_finding(zoo: Zoo) -> None:
    result = run(zoo, "diagnose", zoo.save("0.1.0"), "--code", "0.2.0", "--json")
    assert {finding["stage"] for finding in json.loads(result.stdout)["findings"]} >= {"config", "keys"}


def test_a_report_of_another_kind_is_a_usage_error(zoo: Zoo) -> None:
    assert run(zoo, "diagnose", zoo.save("0.1.0"), "--report", "why.pdf").exit_code == 2


def test_rules_that_are_no_json_are_a_usage_error(zoo: Zoo) -> None:
    (zoo.folder / "rules.json").write_text('{"features": [}')
    done = run(zoo, "diagnose", str(zoo.save("0.1.0")), "--rules", str(zoo.folder / "rules.json"))
    assert done.exit_code == 2
    assert "rules.json" in done.stderr


def test_migrate_needs_no_verb_for_a_file(zoo: Zoo) -> None:
    target = zoo.folder / "new.mpt"
    result = run(zoo, "migrate", zoo.save("0.1.0"), "--to", "0.3.0", "-o", target, "--prove")
    assert result.exit_code == 0
    assert "logits" in result.stdout
    with open_archive(target) as archive:
        assert archive.manifest.migration["head"] == "r2_join"


def test_migrating_many_tells_what_failed_by_its_exit_code(zoo: Zoo) -> None:
    broken = zoo.folder / "broken.mpt"
    broken.write_bytes(b"no archive")
    result = run(
        zoo, "migrate", "run", zoo.save("0.1.0"), broken, "--to", "0.3.0", "--into", zoo.folder / "into", "--json"
    )
    assert result.exit_code == 1
    assert [item["status"] for item in json.loads(result.stdout)] == ["migrated", "failed"]


def test_archives_of_one_name_keep_the_folders_that_tell_them_apart_and_are_resumed_there(zoo: Zoo) -> None:
    for name in ("a", "b", "more/a"):
        (zoo.folder / name).mkdir(parents=True)
    paths = [zoo.save("0.1.0", f"{name}/run.mpt", train_steps=steps) for name, steps in (("a", 0), ("b", 1))]
    zoo.save("0.1.0", "more/a/run.mpt")
    into = zoo.folder / "into"
    command = ("migrate", *paths, paths[0], zoo.folder / "more", "--to", "0.3.0", "--into", into, "--json")
    first, second = run(zoo, *command), run(zoo, *command)
    assert (first.exit_code, second.exit_code) == (0, 0)
    places = [str(into / place) for place in ("a/run.mpt", "b/run.mpt", "more/a/run.mpt")]
    assert [item["target"] for item in json.loads(first.stdout)] == places
    assert [item["status"] for item in json.loads(second.stdout)] == ["done before"] * 3
    for path, place in zip(paths, places, strict=False):
        with open_archive(path) as old, open_archive(place) as new:
            assert (new.manifest.lineage or {})["parent"] == old.manifest.content_digest


def test_every_archive_has_a_place_of_its_own_whatever_is_given(tmp_path: Path) -> None:
    from app_loader.migration.batch import find_archives

    names = [f"{folder}/{name}.mpt" for folder in ("x/b/c", "x/c", "y/b", "c") for name in ("c", "run")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = [tmp_path, *(tmp_path / folder for folder in ("x", "x/b", "x/c", "y/../c"))]
    for given in itertools.permutations([*folders, tmp_path / "c/run.mpt", tmp_path / "y/b/run.mpt"], 3):
        found = find_archives(given)
        assert len({place for _, place in found}) == len(found) == len({path.resolve() for path, _ in found})
        assert not any(place.is_absolute() or ".." in place.parts for _, place in found)


def test_what_a_killed_writer_left_is_no_archive(tmp_path: Path) -> None:
    from app_loader.migration.batch import find_archives

    for name in ("run.mpt", ".run.mpt.0a1b.unverified.mpt"):
        (tmp_path / name).touch()
    assert [place.name for _, place in find_archives([tmp_path])] == ["run.mpt"]


def test_migrate_without_a_target_is_a_usage_error(zoo: Zoo) -> None:
    assert run(zoo, "migrate", zoo.save("0.1.0")).exit_code == 2


def test_a_proof_without_the_trained_code_says_so_and_what_would_bring_it(zoo: Zoo) -> None:
    path = zoo.save("0.1.0")
    zoo.store.remove(next(entry for entry in zoo.store.entries() if entry.version == "0.1.0"))
    done = run(zoo, "migrate", path, "--to", "0.3.0", "-o", zoo.folder / "new.mpt")
    assert done.exit_code == 0
    command = done.stdout.rpartition("to compare it too: ")[2]
    assert command.startswith("mpt zoo add WHEEL --store ")
    wheel = str(zoo.folder / "wheels" / "steady_zoo-0.1.0-py3-none-any.whl")
    words = [wheel if word == "WHEEL" else word for word in shlex.split(command, comments=True)]
    assert CliRunner().invoke(mpt, words[1:]).exit_code == 0
    again = run(zoo, "migrate", path, "--to", "0.3.0", "-o", zoo.folder / "new.mpt", "--json")
    assert json.loads(again.stdout)["missing_code"] == ""
    assert json.loads(again.stdout)["proof"]["missing"] == []


def test_a_batch_into_a_file_is_a_usage_error_and_one_of_nothing_says_so(zoo: Zoo) -> None:
    path, empty = zoo.save("0.1.0"), zoo.folder / "empty"
    empty.mkdir()
    assert run(zoo, "migrate", path, "--to", "0.3.0", "--into", path).exit_code == 2
    nothing = run(zoo, "migrate", empty, "--to", "0.3.0", "--into", zoo.folder / "into", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)) == (0, [])
    assert str(empty) in nothing.stderr


def test_a_target_in_a_folder_that_is_not_there_says_how_to_make_it(zoo: Zoo) -> None:
    target = zoo.folder / "a folder" / "new.mpt"
    refused = run(zoo, "migrate", zoo.save("0.1.0"), "--to", "0.3.0", "-o", target)
    assert refused.exit_code == 1
    words = shlex.split(refused.stderr.rpartition("first, `")[2].partition("`")[0])
    assert words == ["mkdir", "-p", str(target.parent)]


def test_draft_writes_a_file_that_is_python(zoo: Zoo) -> None:
    zoo.add("0.3.1")
    target = zoo.folder / "revision.py"
    assert run(zoo, "migrate", "draft", zoo.save("0.1.0"), "--to", "0.3.1", "-o", target).exit_code == 0
    compile(target.read_text(), str(target), "exec")


def test_a_draft_replaces_a_draft_and_never_what_a_person_reviewed(zoo: Zoo) -> None:
    zoo.add("0.3.1")
    path, target = zoo.save("0.1.0"), zoo.folder / "revision.py"
    command = ("migrate", "draft", path, "--to", "0.3.1", "--no-trial", "-o", target)
    assert [run(zoo, *command).exit_code for _ in range(2)] == [0, 0]
    reviewed = target.read_text().replace("reviewed=False", "reviewed=True")
    target.write_text(reviewed)
    assert run(zoo, *command).exit_code == 2
    assert target.read_text() == reviewed


def test_what_a_draft_offers_can_be_written_as_it_says(zoo: Zoo) -> None:
    zoo.add("0.3.1")
    drafted = run(zoo, "migrate", "draft", zoo.save("0.1.0"), "--to", "0.3.1", "--no-trial")
    names: dict[str, Any] = {}
    exec(compile(drafted.stdout, "revision.py", "exec"), names)
    offered = re.findall(r"# (?:written as|then) (.+), in place of the Choose$", drafted.stdout, re.MULTILINE)
    questions = names["REVISION"].open_questions
    assert [eval(text, names).produces[0] for text in offered] == [question.key for question in questions]
    assert len(offered) > 2


def test_check_finds_the_zoos_own_revisions_in_order() -> None:
    result = CliRunner().invoke(mpt, ["migrate", "check"])
    assert result.exit_code == 0
    assert result.stdout.index("r0001_name_towers") < result.stdout.index("r0008_group_norm")


R3 = "R3_X = Revision(id='r3_x', parents=({},), since='0.3', kinds=('x1',), summary='', reviewed=True)\n"
R4 = "R4_X = Revision(id='r4_x', parents=({},), since='0.3', kinds=('x1',), summary='', reviewed=True)\n"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (R3.format("'r1_unwrap'"), "several heads: r2_join, r3_x"),
        (R3.format("'r4_x'") + R4.format("'r3_x'"), "a cycle: r3_x, r4_x"),
        (R3.format("'r9_lost'"), "r3_x has the parent r9_lost"),
        (R3.format("'r2_join'").replace("r3_x", "R3"), "revision 'R3': its id"),
    ],
    ids=["several heads", "cycle", "missing parent", "invalid id"],
)
def test_every_command_names_what_is_wrong_with_a_history_and_the_check_shows_it(
    zoo: Zoo, extra: str, named: str
) -> None:
    more = ", R3_X, R4_X" if "R4_X" in extra else ", R3_X"
    zoo.add("0.3.2", revisions=revisions_source(more=more, extra=extra))
    path, target = zoo.save("0.1.0"), zoo.folder / "new.mpt"
    diagnosed = run(zoo, "diagnose", path, "--code", "0.3.2", "--json")
    migrated = run(zoo, "migrate", path, "--to", "0.3.2", "-o", target)
    found = [f for f in json.loads(diagnosed.stdout)["findings"] if f["stage"] == "revisions"]
    assert (diagnosed.exit_code, migrated.exit_code, target.exists()) == (1, 1, False)
    assert [named in finding["message"] for finding in found] == [True]
    there = shlex.quote(str(zoo.store.path))
    command = f"mpt migrate check --distribution steady-zoo --code 0.3.2 --store {there}"
    assert found[0]["next_command"] == command
    assert json.loads(diagnosed.stdout)["next"][0] == command
    assert named in migrated.stderr
    assert f"Run: {command}" in migrated.stderr
    checked = CliRunner().invoke(mpt, shlex.split(command)[1:])
    assert checked.exit_code == 1
    assert named in checked.stderr


def test_the_next_command_drafts_for_the_code_that_was_asked_for(zoo: Zoo) -> None:
    found = json.loads(run(zoo, "diagnose", zoo.save("0.1.0"), "--code", "0.2.0", "--json").stdout)["findings"]
    drafts = {f["next_command"] for f in found if "migrate draft" in f["next_command"]}
    path, there = (shlex.quote(str(each)) for each in (zoo.folder / "run.mpt", zoo.store.path))
    assert drafts == {f"mpt migrate draft {path} --to 0.2.0 -o revision.py --store {there}"}


def test_the_revisions_of_a_stored_version_are_checked(zoo: Zoo) -> None:
    sound = run(zoo, "migrate", "check", "--distribution", "steady_zoo", "--code", "0.3.0")
    assert (sound.exit_code, sound.stderr) == (0, "")
    assert "r2_join" in sound.stdout
    assert run(zoo, "migrate", "check", "--distribution", "steady-zoo", "--code", "9.9").exit_code == 2


def test_the_word_archive_within_a_path_stays() -> None:
    from app_loader.commands import complete

    command = complete("mpt migrate draft ARCHIVE --to current", archive="/runs/ARCHIVE/run.mpt")
    assert command == "mpt migrate draft /runs/ARCHIVE/run.mpt --to current"
    assert complete("mpt migrate /runs/ARCHIVE/run.mpt", archive="x.mpt") == "mpt migrate /runs/ARCHIVE/run.mpt"
