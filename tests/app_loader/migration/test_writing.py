"""Writing a migrated archive: checked, proven, with lineage; the other direction; many at once; what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from app_loader import load_policy
from app_loader.errors import MigrationError
from app_loader.migration import write
from app_loader.migration.batch import migrate_many
from app_loader.migration.write import migrate_archive
from history_zoo import revisions_source
from mpt_format import open_archive


def test_a_migrated_archive_is_proven_and_loads_with_its_new_code(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    report = migrate_archive(path, zoo.folder / "new.mpt", code="0.3.0", store=zoo.store)
    assert report.route == ("r1_unwrap", "r2_join")
    assert report.round_trip == "bytes equal"
    assert report.idempotent
    assert report.proof is not None
    assert report.proof.held
    assert {d.name for d in report.proof.on_fresh} >= {"action", "logits", "value"}
    loaded = load_policy(zoo.folder / "new.mpt", store=zoo.store, verify="witness")
    assert loaded.origin.version == "0.3.0"


def test_the_lineage_names_parent_and_revisions_and_the_source_stays(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    before = path.read_bytes()
    migrate_archive(path, zoo.folder / "new.mpt", code="0.3.0", store=zoo.store)
    with open_archive(zoo.folder / "new.mpt") as new, open_archive(path) as old:
        assert new.manifest.lineage is not None
        assert new.manifest.lineage["parent"] == old.manifest.content_digest
        assert new.manifest.lineage["revisions"] == ["r1_unwrap", "r2_join"]
    assert path.read_bytes() == before


def test_down_again_gives_the_bytes_of_the_beginning(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    up = zoo.folder / "up.mpt"
    migrate_archive(path, up, code="0.3.0", store=zoo.store)
    zoo.add("0.1.1", revisions=revisions_source())
    report = migrate_archive(up, zoo.folder / "down.mpt", code="0.1.1", store=zoo.store)
    assert report.backwards
    with open_archive(zoo.folder / "down.mpt") as down, open_archive(path) as first:
        assert {n: r.sha256 for n, r in down.tensors.items()} == {n: r.sha256 for n, r in first.tensors.items()}
        assert down.architecture == first.architecture


def test_the_optimizer_follows_its_parameters(zoo: Any) -> None:
    path = zoo.save("0.1.0", train_steps=3)
    target = zoo.folder / "new.mpt"
    migrate_archive(path, target, code="0.3.0", store=zoo.store)
    with open_archive(path) as old, open_archive(target) as new:
        before = old.read_tensor_member("trainer/optimizer.safetensors")
        after = new.read_tensor_member("trainer/optimizer.safetensors")
        document = new.read_json("trainer/optimizer.json")
    joined = torch.cat([before[f"{name}.weight/exp_avg"] for name in ("query", "key", "value")])
    assert torch.equal(after["qkv.weight/exp_avg"], joined)
    assert torch.equal(after["layers.1.weight/exp_avg_sq"], before["layers.0.weight/exp_avg_sq"])
    assert torch.equal(after["inp.bias/step"], before["inp.net.bias/step"])
    assert torch.equal(after["head.weight/exp_avg"][:3], before["head.net.weight/exp_avg"])
    assert not any(name.startswith("layers.0.") for name in after)
    assert isinstance(document, dict)
    assert "layers.0.weight" in document["groups"][0]["parameters"]  # type: ignore[index,call-overload,operator]


def test_a_migration_whose_proof_fails_is_not_written(zoo: Any) -> None:
    zoo.add("0.3.4", revisions=revisions_source(), twist=".flip(-1)")
    target = zoo.folder / "new.mpt"
    with pytest.raises(MigrationError):
        migrate_archive(zoo.save("0.1.0"), target, code="0.3.4", store=zoo.store)
    assert {p.name for p in zoo.folder.iterdir()} == {"run.mpt", "store", "wheels"}


def test_an_unproven_migration_carries_the_measured_difference(zoo: Any) -> None:
    zoo.add("0.3.4", revisions=revisions_source(), twist=".flip(-1)")
    target = zoo.folder / "new.mpt"
    migrate_archive(zoo.save("0.1.0"), target, code="0.3.4", store=zoo.store, unproven=True)
    with open_archive(target) as archive:
        assert archive.manifest.lineage is not None
        proof: Any = archive.manifest.lineage["proof"]
    assert proof["held"] is False
    assert max(row["largest"] or 0 for row in proof["fresh"]) > 1e-3
    loaded = load_policy(target, store=zoo.store, verify="witness")  # a witness that its own code cannot meet is no use
    assert loaded.origin.version == "0.3.4"


@pytest.mark.parametrize(
    "wrong",
    [
        'Cat(parts=("key.{leaf}", "query.{leaf}", "value.{leaf}"), whole="qkv.{leaf}")',
        'Cat(parts=("value.{leaf}", "key.{leaf}", "query.{leaf}"), whole="qkv.{leaf}")',
    ],
    ids=["equal by symmetry", "value first"],
)
def test_a_wrong_order_of_query_key_value_is_caught_where_it_matters(zoo: Any, wrong: str) -> None:
    right = 'Cat(parts=("query.{leaf}", "key.{leaf}", "value.{leaf}"), whole="qkv.{leaf}")'
    zoo.add("0.3.5", revisions=revisions_source().replace(right, wrong))
    path, target = zoo.save("0.1.0"), zoo.folder / "new.mpt"
    if 'value.{leaf}", "key' in wrong:
        with pytest.raises(MigrationError):
            migrate_archive(path, target, code="0.3.5", store=zoo.store)
    else:  # q * k is k * q here: the exchange changes no output, and the proof rightly holds
        report = migrate_archive(path, target, code="0.3.5", store=zoo.store)
        assert report.proof is not None
        assert report.proof.held


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("numbers=((0, 1), (1, 2))", "numbers=((0, 2), (1, 1))"),
        ('Rename(old="inp.net', 'Transpose(key="query.weight"), Rename(old="inp.net'),
    ],
    ids=["equal-width shift", "transposed square weight"],
)
def test_a_wrong_revision_between_equal_shapes_is_caught_by_the_proof(zoo: Any, right: str, wrong: str) -> None:
    zoo.add("0.3.6", revisions=revisions_source().replace(right, wrong))
    with pytest.raises(MigrationError):
        migrate_archive(zoo.save("0.1.0"), zoo.folder / "new.mpt", code="0.3.6", store=zoo.store)


def test_a_revision_that_leaves_a_key_over_is_refused_before_anything_is_built(zoo: Any) -> None:
    zoo.add("0.3.7", revisions=revisions_source().replace('Reindex(path="layers", numbers=((0, 1), (1, 2))),', ""))
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.save("0.1.0"), zoo.folder / "new.mpt", code="0.3.7", store=zoo.store)
    assert any("layers.0.weight" in problem for problem in caught.value.problems)


def test_a_rule_that_cannot_be_turned_around_is_refused_unless_it_says_so(zoo: Any) -> None:
    loose = 'Rename(old="{part}.net.{leaf}", new="{part}.{leaf}")'
    exact = 'Rename(old="inp.net.{leaf}", new="inp.{leaf}"), Rename(old="head.net.{leaf}", new="head.{leaf}")'
    zoo.add("0.3.8", revisions=revisions_source().replace(exact, loose + ","))
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.save("0.1.0"), zoo.folder / "new.mpt", code="0.3.8", store=zoo.store)
    assert any("undoing" in problem for problem in caught.value.problems)
    said = 'summary="The wrapper is gone and width is called size.", irreversible="which had a wrapper is not kept",'
    source = revisions_source().replace(exact, loose + ",")
    zoo.add("0.3.9", revisions=source.replace('summary="The wrapper is gone and width is called size.",', said))
    report = migrate_archive(zoo.save("0.1.0"), zoo.folder / "new.mpt", code="0.3.9", store=zoo.store)
    assert report.round_trip.startswith("not reversible")


def test_the_source_is_never_overwritten(zoo: Any) -> None:
    path = zoo.save("0.1.0")
    with pytest.raises(MigrationError):
        migrate_archive(path, path, code="0.2.0", store=zoo.store)


def test_a_batch_goes_on_where_it_stopped(zoo: Any) -> None:
    paths = [zoo.save("0.1.0", f"run{i}.mpt") for i in range(2)]
    broken = zoo.folder / "broken.mpt"
    broken.write_bytes(b"no archive")
    into: Path = zoo.folder / "into"
    first = list(migrate_many([paths[0]], into, code="0.3.0", store=zoo.store))
    again = list(migrate_many([*paths, broken], into, code="0.3.0", store=zoo.store))
    assert [item.status for item in first] == ["migrated"]
    assert [item.status for item in again] == ["done before", "migrated", "failed"]


def test_a_batch_takes_folders_and_outlives_model_code_that_raises(zoo: Any) -> None:
    runs = zoo.folder / "runs"
    for name in ("one", "two"):
        (runs / name).mkdir(parents=True)
        zoo.save("0.1.0", f"runs/{name}/run.mpt")
    first = 'Rename(old="inp.net'
    raises = 'Function(name="f", undo=None, apply=lambda tensor, config: 1 / 0, keys="head.net.weight"), '
    zoo.add("0.3.2", revisions=revisions_source().replace(first, raises + first))
    into: Path = zoo.folder / "into"
    found = list(migrate_many([runs], into, code="0.3.2", store=zoo.store))
    assert [item.status for item in found] == ["failed", "failed"]
    found = list(migrate_many([runs], into, code="0.3.0", store=zoo.store))
    assert [item.status for item in found] == ["migrated", "migrated"]
    assert (into / "one" / "run.mpt").exists()
    itself = migrate_many([into / "one"], into / "one", code="0.3.0", store=zoo.store)
    assert [item.status for item in itself] == ["failed"]


RESIZE = 'Resize(key="head.weight"'
HEAD = 'Rename(old="head.net.{leaf}", new="head.{leaf}")'


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        (RESIZE, f'Add(key="extra", shape=(2,), init="zeros", reason=""), {RESIZE}', "extra"),
        (HEAD, HEAD + ', Rename(old="critic.{leaf}", new="judge.{leaf}")', "judge.weight"),
    ],
    ids=["one too many", "under another name"],
)
def test_tensors_that_are_not_those_of_the_code_are_refused_by_name(
    zoo: Any, right: str, wrong: str, named: str
) -> None:
    zoo.add("0.3.7", revisions=revisions_source().replace(right, wrong))
    target = zoo.folder / "new.mpt"
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.save("0.1.0"), target, code="0.3.7", store=zoo.store, unproven=True)
    assert any(problem.startswith(f"{named}:") for problem in caught.value.problems)
    assert not target.exists()


def test_a_number_of_another_kind_than_the_code_expects_is_refused(zoo: Any) -> None:
    cast = 'Cast(key="critic.bias", old="float32", new="int64"), Reindex(path="layers"'
    zoo.add("0.3.7", revisions=revisions_source().replace('Reindex(path="layers"', cast))
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.save("0.1.0"), zoo.folder / "new.mpt", code="0.3.7", store=zoo.store, unproven=True)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["critic.bias"]


def test_a_revision_whose_undoing_gives_other_numbers_is_refused(zoo: Any) -> None:
    wrong = "Function(name='same', keys='critic.bias', apply=lambda t, c: t.clone(), undo=lambda t, c: t + 1), "
    zoo.add("0.3.7", revisions=revisions_source().replace('Reindex(path="layers"', wrong + 'Reindex(path="layers"'))
    target = zoo.folder / "new.mpt"
    with pytest.raises(MigrationError) as caught:
        migrate_archive(zoo.save("0.1.0"), target, code="0.3.7", store=zoo.store, unproven=True)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["critic.bias"]
    assert not target.exists()


def test_a_result_that_would_be_migrated_again_is_refused(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = zoo.save("0.1.0"), zoo.folder / "new.mpt"
    forgetful: Any = vars(write)["make_content"]
    first = writer_of(path)

    def forget(*given: Any) -> Any:
        content: Any = forgetful(*given)
        return replace(content, migration={}, code=replace(content.code, version=first))

    monkeypatch.setattr(write, "make_content", forget)
    with pytest.raises(MigrationError):
        migrate_archive(path, target, code="0.3.0", store=zoo.store)
    assert not target.exists()


def writer_of(path: Path) -> str:
    """Return the version that wrote an archive."""
    with open_archive(path) as archive:
        assert archive.manifest.code is not None
        return archive.manifest.code.version
