"""The matrix over three versions of a small zoo without revisions: one changes behaviour, one renames a module."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from app_loader import Store, save_policy
from app_loader.cli.museum import museum
from app_loader.museum import Cell, Matrix, Row, Verdict, compare_matrices, make_matrix
from app_loader.museum.draw import make_page, make_table
from app_loader.template import parse_zoo_name, write_zoo
from click.testing import CliRunner
from policy_interface import DiscreteActions, Feature, GameRules

RULES = GameRules(features=(Feature(name="position", id=0, scale=2.4),), actions=DiscreteActions.of("left", "right"))
VERSIONS = {
    "0.1.0": ("", ""),
    "0.2.0": ("self.body(observation)", "self.body(observation * 1.5)"),
    "0.3.0": ("self.actor", "self.action_head"),
}


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three wheels of one zoo."""
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None
    folder = tmp_path_factory.mktemp("matrix")
    for version, (old, new) in VERSIONS.items():
        zoo = folder / version
        write_zoo(parse_zoo_name("old-zoo"), zoo)
        for file, before, after in (("pyproject.toml", "0.1.0", version), ("src/old_zoo/mlp.py", old, new)):
            path = zoo / file
            path.write_text(path.read_text().replace(before, after) if before else path.read_text())
        subprocess.run([uv, "build", "--quiet", "--wheel", str(zoo), "--out-dir", str(folder / "wheels")], check=True)
    return folder / "wheels"


@pytest.fixture(scope="module")
def store(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("matrix") / "store")
    for wheel in wheelhouse.glob("*.whl"):
        store.add([wheel])
    return store


@pytest.fixture(scope="module")
def checkpoints(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one checkpoint of every version."""
    folder = tmp_path_factory.mktemp("matrix") / "runs"
    for entry in store.entries():
        (folder / entry.version).mkdir(parents=True)
        torch.manual_seed(0)
        policy = entry.import_module("old_zoo.mlp").MlpArchitecture(hidden=8).make_policy(RULES)
        save_policy(policy, folder / entry.version / "run.mpt")
    return folder


@pytest.fixture(scope="module")
def matrix(checkpoints: Path, store: Store) -> Matrix:
    return make_matrix(checkpoints, store, current=False)


def test_every_checkpoint_meets_every_version(matrix: Matrix) -> None:
    assert matrix.versions == ("0.1.0", "0.2.0", "0.3.0")
    verdicts = {row.checkpoint: tuple(cell.verdict for cell in row.cells) for row in matrix.rows}
    assert verdicts == {
        "0.1.0/run": (Verdict.EQUAL, Verdict.DIFFERS, Verdict.REFUSED),
        "0.2.0/run": (Verdict.DIFFERS, Verdict.EQUAL, Verdict.REFUSED),
        "0.3.0/run": (Verdict.REFUSED, Verdict.REFUSED, Verdict.EQUAL),
    }
    trained = {(row.checkpoint, cell.version) for row in matrix.rows for cell in row.cells if cell.trained}
    assert trained == {(f"{version}/run", version) for version in VERSIONS}
    assert matrix.kept


def test_refusal_says_why(matrix: Matrix) -> None:
    details = {(row.checkpoint, cell.version): cell.detail for row in matrix.rows for cell in row.cells}
    assert "RestoreError" in details["0.1.0/run", "0.3.0"]
    assert "away" in details["0.1.0/run", "0.2.0"]


def test_checkpoint_that_its_own_code_no_longer_loads_breaks_the_promise(
    checkpoints: Path, wheelhouse: Path, tmp_path: Path
) -> None:
    only_new = Store(tmp_path / "store")
    only_new.add(sorted(wheelhouse.glob("*.whl"))[-1:])
    assert not make_matrix(checkpoints, only_new, current=False).kept


def test_a_file_that_is_no_archive_is_refused_and_hides_no_other(
    checkpoints: Path, store: Store, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints / "0.1.0", tmp_path / "0.1.0")
    (tmp_path / "0.1.0" / "empty.mpt").touch()
    rows = {row.checkpoint: row.cells for row in make_matrix(tmp_path, store, current=False).rows}
    assert {cell.verdict for cell in rows["0.1.0/empty"]} == {Verdict.REFUSED}
    assert rows["0.1.0/run"][0].verdict is Verdict.EQUAL


def test_page_and_table_hold_every_cell(matrix: Matrix) -> None:
    class Texts(html.parser.HTMLParser):
        cells = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.cells += tag == "td"

    texts = Texts()
    texts.feed(make_page(matrix))
    assert texts.cells == 9
    assert make_table(matrix).row_count == 3


def test_what_a_checkpoint_says_is_escaped_in_the_page() -> None:
    cell = Cell(version="1", verdict=Verdict.REFUSED, detail="<script>alert(1)</script>", trained=False)
    page = make_page(Matrix(versions=("1",), rows=(Row(checkpoint="<b>", cells=(cell,)),)))
    assert "<script>alert" not in page and "<b>" not in page


def test_command_prints_draws_and_compares(checkpoints: Path, wheelhouse: Path, tmp_path: Path) -> None:
    page, recorded = tmp_path / "matrix.html", tmp_path / "matrix.json"
    arguments = [str(checkpoints), "--wheelhouse", str(wheelhouse), "--no-current"]
    first = CliRunner().invoke(museum, [*arguments, "--json", "--html", str(page)])
    assert first.exit_code == 0
    assert "0.1.0/run" in page.read_text()
    recorded.write_text(first.stdout)
    second = CliRunner().invoke(museum, [*arguments, "--recorded", str(recorded)])
    assert second.exit_code == 0
    document = json.loads(first.stdout)
    document["checkpoints"]["0.1.0/run"][1]["verdict"] = "migrated"
    recorded.write_text(json.dumps(document))
    third = CliRunner().invoke(museum, [*arguments, "--recorded", str(recorded)])
    assert third.exit_code == 1
    assert "0.1.0/run with 0.2.0: migrated -> differs" in third.stderr


def matrix_document(**verdicts: str) -> dict[str, object]:
    cells = [{"version": version, "verdict": verdict} for version, verdict in verdicts.items()]
    return {"checkpoints": {"run": cells}}


@pytest.mark.parametrize(
    ("then", "now", "worse"),
    [
        ("equal", "refused", True),
        ("migrated", "differs", True),
        ("refused", "migrated", False),
        ("differs", "close", False),
    ],
)
def test_change_for_the_worse_is_told_from_one_for_the_better(then: str, now: str, worse: bool) -> None:
    (change,) = compare_matrices(matrix_document(v1=then), matrix_document(v1=now))
    assert (change.checkpoint, change.version, change.recorded, change.found) == ("run", "v1", then, now)
    assert change.worse is worse


def test_last_bits_are_no_change_and_missing_cells_are() -> None:
    assert list(compare_matrices(matrix_document(v1="equal"), matrix_document(v1="close"))) == []
    (gone,) = compare_matrices(matrix_document(v1="equal"), {"checkpoints": {}})
    assert gone.found is None and gone.worse
    (new,) = compare_matrices({"checkpoints": {}}, matrix_document(v1="refused"))
    assert new.recorded is None and not new.worse
