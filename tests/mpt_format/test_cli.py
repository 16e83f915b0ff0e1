"""The `mpt` command: verbs, exit codes, JSON, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import click
import pytest
from click.testing import CliRunner, Result
from mpt_format import ArchiveContent, open_archive, write_archive
from mpt_format.cli import group, mpt
from mpt_format.cli.verbs import BUILT_IN, joined_verbs, load_verb

from tests.goldens.make_format_1 import everything, minimal

GOLDEN = Path(__file__).parents[1] / "goldens" / "format_1" / "everything.mpt"
MUSEUM = Path(__file__).parents[2] / "museum"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(mpt, [str(argument) for argument in arguments])


def test_inspect_tells_what_it_is() -> None:
    done = run("inspect", "--tensors", GOLDEN)
    assert done.exit_code == 0
    for word in ("mlp_actor_critic", "model-zoo 0.1.0", "body.weight", "same as body.weight", "view of storage/0"):
        assert word in done.output


def test_inspect_gives_the_manifest_as_json() -> None:
    document = json.loads(run("inspect", "--json", GOLDEN).output)
    with open_archive(GOLDEN) as archive:
        assert document["manifest"] == archive.manifest.to_document()
        assert document["content_digest"] == archive.manifest.content_digest
    assert next(iter(document["members"])) == "manifest.json"


def test_inspect_prints_config_and_rules() -> None:
    assert "# kept as written" in run("inspect", "--config", GOLDEN).output
    assert json.loads(run("inspect", "--rules", GOLDEN).output)["actions"] == ["noop", "move"]


def test_inspect_tells_of_the_training_and_prints_all_of_it() -> None:
    path = MUSEUM / "0.2.0" / "token_recurrent.mpt"
    told = next(line for line in run("inspect", path).output.splitlines() if line.startswith("training"))
    assert "task remembered-heart, seed 0, steps 600" in told
    assert json.loads(run("inspect", "--training", path).output)["task"] == "remembered-heart"
    assert json.loads(run("inspect", "--training", GOLDEN).output) == {"returns": [1.5, 2.5]}


@pytest.mark.parametrize("level", ["--structure", "--quick", "--full"])
def test_verify_is_content_with_a_golden(level: str) -> None:
    done = run("verify", level, GOLDEN)
    assert done.exit_code == 0
    assert level.removeprefix("--") in done.output


def test_verify_tells_every_problem(tmp_path: Path) -> None:
    data = bytearray(GOLDEN.read_bytes())
    for word in (b"blending", b"energy"):
        data[data.index(word)] ^= 1
    (tmp_path / "bad.mpt").write_bytes(data)
    done = run("verify", "--quick", "--json", GOLDEN, tmp_path / "bad.mpt", tmp_path / "none.mpt")
    assert done.exit_code == 1
    good, bad, none = json.loads(done.output)
    assert good["ok"] is True
    assert [problem["where"] for problem in bad["problems"]] == ["game_rules.json", "extra_state.json"]
    assert none["error"] == "ArchiveNotFoundError"
    assert run("verify", tmp_path / "bad.mpt").exit_code == 1


def test_verify_takes_a_folder_and_counts(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    for name in ("a/one.mpt", "two.mpt"):
        (tmp_path / "runs" / name).write_bytes(GOLDEN.read_bytes())
    (tmp_path / "runs" / "notes.txt").write_text("no archive")
    done = run("verify", "--json", tmp_path / "runs")
    assert [Path(report["path"]).name for report in json.loads(done.output)] == ["one.mpt", "two.mpt"]
    assert done.exit_code == 0
    (tmp_path / "empty").mkdir()
    assert run("verify", tmp_path / "empty").exit_code == 2


def test_a_verb_of_app_loader_is_told_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "joined_verbs", dict)
    monkeypatch.setattr("mpt_format.cli.verbs.joined_verbs", dict)
    done = run("load", "run.mpt")
    assert done.exit_code == 2
    assert "pip install app-loader" in done.output


def test_diff_of_an_archive_with_itself_is_empty() -> None:
    done = run("diff", GOLDEN, GOLDEN)
    assert done.exit_code == 0
    assert run("diff", "--json", GOLDEN, GOLDEN).output.strip() == "[]"


def test_diff_tells_what_changed(tmp_path: Path) -> None:
    import dataclasses

    import torch

    old = everything()
    new = dataclasses.replace(
        old,
        architecture={"kind": "mlp_actor_critic", "schema_version": 2, "config": {"width": 4, "rate": 3e-4}},
        game_rules={"features": [{"id": 5, "name": "energy", "scale": 255.0}], "actions": ["noop"]},
        state=dataclasses.replace(
            old.state,
            tensors={
                **old.state.tensors,
                "body.weight": dataclasses.replace(
                    old.state.tensors["body.weight"],
                    payload=dataclasses.replace(
                        old.state.tensors["body.weight"].payload,  # type: ignore[type-var]
                        data=torch.tensor([0, 1, 2, 3, 4, 7.5]).numpy().tobytes(),
                    ),
                ),
            },
        ),
        readme=None,
        created=None,
    )
    path = write_archive(tmp_path / "new.mpt", new).path
    done = run("diff", "--values", "--json", GOLDEN, path)
    assert done.exit_code == 1
    found = {(entry["area"], entry["path"]): entry for entry in json.loads(done.output)}
    assert found.keys() == {
        ("config", "config.width"),
        ("rules", "features[0].id"),
        ("rules", "actions"),
        ("tensor", "body.weight"),
        ("member", "README.md"),
    }
    assert found["tensor", "body.weight"]["max_difference"] == 2.5
    assert "config.width: 3 -> 4" in run("diff", GOLDEN, path).output


def test_unpack_and_pack_give_the_same_bytes(tmp_path: Path) -> None:
    assert run("unpack", GOLDEN, tmp_path / "folder").exit_code == 0
    assert (tmp_path / "folder" / "trainer" / "adam.json").read_text() == '{"lr":0.001}'
    assert run("pack", tmp_path / "folder", tmp_path / "again.mpt").exit_code == 0
    assert (tmp_path / "again.mpt").read_bytes() == GOLDEN.read_bytes()


def test_pack_takes_edited_files_and_other_tools_safetensors(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = write_archive(tmp_path / "a.mpt", minimal()).path
    run("unpack", path, tmp_path / "folder")
    save_file({"weight": torch.full((2, 2), 5.0)}, tmp_path / "folder" / "weights.safetensors", {"b": "x", "a": "y"})
    (tmp_path / "folder" / "README.md").write_text("# edited\n")
    assert run("pack", tmp_path / "folder", tmp_path / "b.mpt").exit_code == 0
    with open_archive(tmp_path / "b.mpt") as archive:
        archive.verify("full")
        assert archive.read_tensors()["weight"].tolist() == [[5, 5], [5, 5]]
        assert archive.read_member("README.md") == b"# edited\n"


def test_unpack_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("x")
    assert run("unpack", GOLDEN, tmp_path / "folder").exit_code == 1
    assert [entry.name for entry in tmp_path.rglob("*")] == ["folder", "mine"]


@pytest.mark.parametrize("name", ["link.json", "evil.py", "sub/sub/x.json"])
def test_pack_refuses_what_is_no_member(name: str, tmp_path: Path) -> None:
    run("unpack", GOLDEN, tmp_path / "folder")
    file = tmp_path / "folder" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name == "link.json":
        file.symlink_to("/etc/passwd")
    else:
        file.write_text("x")
    assert run("pack", tmp_path / "folder", tmp_path / "b.mpt").exit_code == 1
    assert not (tmp_path / "b.mpt").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("inspekt", "x"), 2), (("inspect",), 2), (("inspect", "nothing.mpt"), 1), (("--help",), 0), (("--version",), 0)],
)
def test_exit_codes(arguments: tuple[str, ...], code: int) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit)


def test_a_near_verb_is_offered() -> None:
    assert "inspect" in run("inspekt").output


@pytest.mark.parametrize("verb", BUILT_IN)
def test_every_built_in_verb_is_there_with_help_and_example(verb: str) -> None:
    command = load_verb(verb)
    assert isinstance(command, click.Command)
    assert verb not in joined_verbs()
    done = run(verb, "--help")
    assert done.exit_code == 0
    assert "Example" in done.output


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    content = ArchiveContent(state=minimal().state, training={"note\x1b[2J": "\u202eevil\n\x07"})
    path = write_archive(tmp_path / "a.mpt", content).path
    for done in (run("inspect", path), run("inspect", "--json", path), run("diff", GOLDEN, path)):
        assert "\x1b" not in done.output
        assert "\u202e" not in done.output
        assert "\x07" not in done.output


@pytest.mark.parametrize(("option", "text"), [("--config", "hidden: [64\n"), ("--rules", '{"features": [}')])
def test_convert_tells_a_broken_document_by_its_option(tmp_path: Path, option: str, text: str) -> None:
    (tmp_path / "typed").write_text(text)
    done = run("convert", GOLDEN, "-o", tmp_path / "out.mpt", "--kind", "any", option, tmp_path / "typed")
    assert done.exit_code == 1
    assert f"{option} {tmp_path / 'typed'}: " in done.stderr and "archive" not in done.stderr


def test_path_that_cannot_be_used_is_named_without_a_traceback(tmp_path: Path) -> None:
    @click.command("touch")
    def touch() -> None:
        (tmp_path / "nowhere" / "page.html").write_text("", "utf-8")

    with mock.patch.object(group, "load_verb", return_value=touch):
        done = run("touch")
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1
    assert str(tmp_path / "nowhere" / "page.html") in done.stderr


@pytest.mark.parametrize("arguments", [["inspect", GOLDEN], ["verify", "--quick", GOLDEN], ["verify", GOLDEN]])
def test_reading_verbs_import_neither_torch_nor_other_heavy_things(arguments: list[str | Path]) -> None:
    script = (
        "import sys\n"
        "from mpt_format.cli.group import mpt\n"
        "mpt(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'jinja2', 'fsspec', 'importlib.metadata', 'app_loader'}\n"
        "print('imported:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_without_torch_reading_verbs_work_and_tensors_name_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from mpt_format import MissingExtraError, open_archive\n"
        "with open_archive(sys.argv[1]) as archive:\n"
        "    archive.verify('full')\n"
        "    assert archive.read_tensor_bytes('body.weight')[:4] == bytes(4)\n"
        "    for read in (archive.read_tensors, archive.read_state_dict, archive.read_witness):\n"
        "        try:\n"
        "            read()\n"
        "        except MissingExtraError as error:\n"
        "            print(error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(GOLDEN)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch", "torch", "torch"]


def test_version_names_every_distribution_whose_verbs_there_are() -> None:
    done = run("--version")
    assert done.exit_code == 0
    joined = {verb.dist.name for verb in joined_verbs().values() if verb.dist}
    assert [line.split()[0] for line in done.output.splitlines()] == ["mpt-format", *sorted(joined)]
