"""Settings: the nearest file decides, and every wrong key is named."""

from __future__ import annotations

import pickle

import pytest
from app_loader.errors import SettingsError
from app_loader.settings import Settings, read_settings


def test_without_a_file_nothing_is_allowed(tmp_path):
    assert read_settings(tmp_path) == Settings()


def test_the_nearest_file_decides_and_its_folders_are_relative_to_it(tmp_path):
    (tmp_path / "mpt.toml").write_text('wheelhouses = ["old"]\n')
    inner = tmp_path / "project" / "src"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text('[tool.mpt]\nwheelhouses = ["wheels"]\nfetch = true\n')
    settings = read_settings(inner)
    assert settings.wheelhouses == (tmp_path / "project" / "wheels",)
    assert settings.fetch


def test_a_pyproject_without_our_table_is_passed_over(tmp_path):
    (tmp_path / "mpt.toml").write_text("fetch = true\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "pyproject.toml").write_text("[tool.other]\n")
    assert read_settings(tmp_path / "inner").fetch


@pytest.mark.parametrize("text", ["fetch = 1", "wheelhouses = 'x'", "wheelhose = []", "= broken"])
def test_a_wrong_file_is_refused_with_every_problem(tmp_path, text):
    (tmp_path / "mpt.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_settings(tmp_path)
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.path == str(tmp_path / "mpt.toml")
    assert len(error.problems) == 1
