from __future__ import annotations

import json
from pathlib import Path

import pytest
from app_loader.cli.lint_app import lint_app
from app_loader.lint import known_zoos, lint_paths
from click.testing import CliRunner


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """Return a folder with one clean file, one that knows a zoo, one that cannot be decoded, one to skip."""
    folder = tmp_path / "app"
    (folder / ".venv").mkdir(parents=True)
    (folder / "clean.py").write_text("from app_loader import load_policy\n")
    (folder / "bound.py").write_text("# -*- coding: latin-1 -*-\nimport my_models  # caf\xe9\n", encoding="latin-1")
    (folder / "broken.py").write_bytes(b"x = '\xff'\n")
    (folder / ".venv/installed.py").write_text("import my_models\n")
    return folder


def run(*arguments: str | Path, store: Path) -> tuple[int, str]:
    result = CliRunner().invoke(lint_app, [*map(str, arguments), "--store", str(store)])
    return result.exit_code, result.output


def test_command_lists_findings_with_file_and_line(application: Path, tmp_path: Path) -> None:
    code, output = run(application, "--zoo", "my_models", store=tmp_path / "store")
    assert code == 1
    assert f"{application.as_posix()}/bound.py:2:1: import: import my_models" in output
    assert "2 findings in 3 files" in output


def test_clean_code_exits_with_zero(application: Path, tmp_path: Path) -> None:
    code, output = run(application / "clean.py", store=tmp_path / "store")
    assert (code, "0 findings in 1 files" in output) == (0, True)


def test_excluded_files_are_not_read(application: Path, tmp_path: Path) -> None:
    arguments = (application, "--zoo", "my_models", "--exclude", "*/b*.py")
    assert run(*arguments, store=tmp_path / "store")[0] == 0


def test_json_holds_every_finding(application: Path, tmp_path: Path) -> None:
    code, output = run(application, "--zoo", "my_models", "--json", store=tmp_path / "store")
    document = json.loads(output)
    assert code == 1
    assert document["files"] == 3
    assert {Path(f["path"]).name: f["rule"] for f in document["findings"]} == {
        "bound.py": "import",
        "broken.py": "unreadable",
    }


def test_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere", store=tmp_path / "store")[0] == 2


def test_installed_zoos_are_known_by_their_entry_points() -> None:
    zoo = known_zoos()
    assert zoo.owns("model_zoo.anything")
    assert "mlp_actor_critic" in zoo.kinds
    assert "MlpActorCriticArchitecture" in zoo.classes


def test_our_own_application_code_knows_no_model_code() -> None:
    packages = Path(__file__).parents[3] / "packages"
    findings, count = lint_paths([packages / "app-loader/src", packages / "mpt-format/src"], known_zoos())
    assert [str(finding) for finding in findings] == []
    assert count > 50
