"""The matrix over two released versions of the zoo, made from fresh checkpoints."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import pytest
import torch
from app_loader import Store, save_policy
from app_loader.cli.museum import museum
from app_loader.museum import Cell, Matrix, Row, Verdict, compare_matrices, make_matrix
from app_loader.museum.draw import make_page, make_table
from click.testing import CliRunner
from policy_interface import DiscreteActions, Feature, GameRules, TokenLayout

WHEELHOUSE = Path(__file__).parents[3] / "wheelhouse"
LEFT_RIGHT = DiscreteActions.of("left", "right")
VECTOR = GameRules(features=(Feature(name="position", id=0, scale=2.4),), actions=LEFT_RIGHT)
TOKENS = GameRules(
    features=tuple(Feature(name=f"token_{i}", id=i, high=9) for i in range(3)),
    layout=TokenLayout(tokens=8, height=5, width=7),
    actions=LEFT_RIGHT,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("matrix") / "store")
    for version in ("0.1.0", "0.2.0"):
        store.add([WHEELHOUSE / f"model_zoo-{version}-py3-none-any.whl"])
    return store


@pytest.fixture(scope="module")
def checkpoints(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a perceptron and a token policy of version 0.1.0, and a perceptron of 0.2.0."""
    folder = tmp_path_factory.mktemp("matrix") / "runs"
    for version, names in (("0.1.0", ("Mlp", "Token")), ("0.2.0", ("Mlp",))):
        entry = store.find("model-zoo", version)
        assert entry is not None
        zoo = entry.import_module("model_zoo")
        (folder / version).mkdir(parents=True)
        torch.manual_seed(0)
        if "Mlp" in names:
            save_policy(zoo.MlpActorCriticArchitecture().make_policy(VECTOR), folder / version / "mlp.mpt")
        if "Token" in names:
            save_policy(zoo.TokenRecurrentArchitecture().make_policy(TOKENS), folder / version / "token.mpt")
    return folder


@pytest.fixture(scope="module")
def matrix(checkpoints: Path, store: Store) -> Matrix:
    return make_matrix(checkpoints, store, current=False)


def test_every_checkpoint_meets_every_version(matrix: Matrix) -> None:
    assert matrix.versions == ("0.1.0", "0.2.0")
    verdicts = {row.checkpoint: tuple(cell.verdict for cell in row.cells) for row in matrix.rows}
    assert verdicts == {
        "0.1.0/mlp": (Verdict.EQUAL, Verdict.REFUSED),
        "0.1.0/token": (Verdict.EQUAL, Verdict.DIFFERS),
        "0.2.0/mlp": (Verdict.REFUSED, Verdict.EQUAL),
    }
    assert [[cell.trained for cell in row.cells] for row in matrix.rows] == [
        [True, False],
        [True, False],
        [False, True],
    ]
    assert matrix.kept


def test_refusal_says_why(matrix: Matrix) -> None:
    details = {(row.checkpoint, cell.version): cell.detail for row in matrix.rows for cell in row.cells}
    assert "BuildError" in details["0.1.0/mlp", "0.2.0"]
    assert "away" in details["0.1.0/token", "0.2.0"]


def test_checkpoint_that_its_own_code_no_longer_loads_breaks_the_promise(checkpoints: Path, tmp_path: Path) -> None:
    only_new = Store(tmp_path / "store")
    only_new.add([WHEELHOUSE / "model_zoo-0.2.0-py3-none-any.whl"])
    assert not make_matrix(checkpoints, only_new, current=False).kept


def test_page_and_table_hold_every_cell(matrix: Matrix) -> None:
    class Texts(html.parser.HTMLParser):
        cells = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.cells += tag == "td"

    texts = Texts()
    texts.feed(make_page(matrix))
    assert texts.cells == 6
    assert make_table(matrix).row_count == 3


def test_what_a_checkpoint_says_is_escaped_in_the_page() -> None:
    cell = Cell(version="1", verdict=Verdict.REFUSED, detail="<script>alert(1)</script>", trained=False)
    page = make_page(Matrix(versions=("1",), rows=(Row(checkpoint="<b>", cells=(cell,)),)))
    assert "<script>alert" not in page and "<b>" not in page


def test_command_prints_draws_and_compares(checkpoints: Path, tmp_path: Path) -> None:
    page, recorded = tmp_path / "matrix.html", tmp_path / "matrix.json"
    arguments = [str(checkpoints), "--wheelhouse", str(WHEELHOUSE), "--no-current"]
    first = CliRunner().invoke(museum, [*arguments, "--json", "--html", str(page)])
    assert first.exit_code == 0
    assert "0.1.0/token" in page.read_text()
    recorded.write_text(first.stdout)
    second = CliRunner().invoke(museum, [*arguments, "--recorded", str(recorded)])
    assert second.exit_code == 0
    document = json.loads(first.stdout)
    document["checkpoints"]["0.1.0/mlp"][1]["verdict"] = "migrated"
    recorded.write_text(json.dumps(document))
    third = CliRunner().invoke(museum, [*arguments, "--recorded", str(recorded)])
    assert third.exit_code == 1
    assert "0.1.0/mlp with 0.2.0: migrated -> refused" in third.stderr


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
