"""The museum with every version and with the code of this tree, cell by cell as recorded in museum/matrix.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from app_loader import Store
from app_loader.museum import Matrix, compare_matrices, make_matrix


@pytest.fixture(scope="module")
def matrix(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    store = Store(tmp_path_factory.mktemp("museum") / "store")
    for wheel in sorted((repository / "wheelhouse").glob("model_zoo-*.whl")):
        store.add([wheel])
    return make_matrix(repository / "museum", store)


def test_every_checkpoint_ever_released_loads_with_its_own_code(matrix: Matrix) -> None:
    assert [row.checkpoint for row in matrix.rows if not row.loads_with_its_own_code] == []


def test_every_cell_is_as_recorded(matrix: Matrix, repository: Path) -> None:
    recorded = json.loads((repository / "museum/matrix.json").read_text())
    assert [str(change) for change in compare_matrices(recorded, matrix.to_document())] == []


def test_the_page_shows_the_recorded_matrix(repository: Path) -> None:
    recorded = json.loads((repository / "museum/matrix.json").read_text())
    shown = [
        [f"`{name}`", *(cell["verdict"] + " *" * cell["trained"] for cell in cells)]
        for name, cells in recorded["checkpoints"].items()
    ]
    page = (repository / "docs/how-to/museum.md").read_text()
    table = [["checkpoint", *recorded["versions"]], ["---"] * (len(recorded["versions"]) + 1), *shown]
    assert "\n".join(f"| {' | '.join(row)} |" if row[0] != "---" else f"|{'|'.join(row)}|" for row in table) in page


def test_every_refusal_has_a_reason(matrix: Matrix) -> None:
    refused = [cell for row in matrix.rows for cell in row.cells if not cell.verdict.loads]
    assert refused
    assert all(cell.detail for cell in refused)
