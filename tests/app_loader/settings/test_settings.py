"""Settings are found upwards, refuse what they do not know, and allow nothing by default."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from app_loader.errors import SettingsError
from app_loader.provenance.source import _settings_of
from app_loader.settings import Settings, read_settings
from app_loader.settings import settings as settings_module


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPT_SETTINGS", raising=False)


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    assert (settings.fetch, settings.wheelhouses, settings.indexes, settings.secrets) == (False, (), (), "refuse")
    assert not settings.allows_repository("https://example.org/zoo")


def test_the_nearest_file_upwards_holds(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mpt]\nwheelhouses = ["wheels"]\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert read_settings(inner).wheelhouses == (tmp_path / "wheels",)
    (tmp_path / "a" / "mpt.toml").write_text("fetch = true\n")
    assert read_settings(inner).fetch
    assert read_settings(inner).wheelhouses == ()


@pytest.mark.parametrize("name", ["mpt.toml", "pyproject.toml"])
def test_a_file_that_another_user_put_above_the_folder_of_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    planted = tmp_path / name
    planted.write_text("wheelhouses = ['evil']\n" if name == "mpt.toml" else "[tool.mpt]\nwheelhouses = ['evil']\n")
    stranger = os.geteuid() + 1
    owned = {planted: {stranger}}
    monkeypatch.setattr(settings_module, "_owners", lambda path: owned.get(path, {os.geteuid()}))
    with pytest.raises(SettingsError) as caught:
        read_settings(work)
    assert caught.value.path == str(planted)
    assert _settings_of(work) == Settings()  # a save goes on, and records no more than it would without settings
    monkeypatch.setenv("MPT_SETTINGS", str(planted))  # who names it has decided
    assert read_settings(work).wheelhouses == (tmp_path / "evil",)
    monkeypatch.delenv("MPT_SETTINGS")
    owned[work] = {stranger}  # as a folder that a container mounts
    assert read_settings(work).wheelhouses == (tmp_path / "evil",)
    (work / "mpt.toml").write_text("")  # the nearest decides, so the other is not even looked at
    del owned[work]
    assert read_settings(work).wheelhouses == ()


def test_a_table_that_is_none_is_a_problem_and_no_defect(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert read_settings(tmp_path / "inner").path is None
    (tmp_path / "pyproject.toml").write_text("[tool]\nmpt = 3\n")
    with pytest.raises(SettingsError):
        read_settings(tmp_path)


def test_a_folder_that_is_an_index_lies_below_the_settings_file_wherever_one_works(tmp_path: Path) -> None:
    (tmp_path / "mpt.toml").write_text(
        "indexes = [{url = 'wheels', packages = ['a']}, {url = 'https://example.org/simple', packages = ['b']}]\n"
    )
    (tmp_path / "inner").mkdir()
    found = [index.url for index in read_settings(tmp_path / "inner").indexes]
    assert found == [str(tmp_path / "wheels"), "https://example.org/simple"]


def test_a_file_named_by_the_variable_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.toml").write_text("max_diff_bytes = 7\n")
    monkeypatch.setenv("MPT_SETTINGS", str(tmp_path / "x.toml"))
    assert read_settings(tmp_path).max_diff_bytes == 7
    monkeypatch.setenv("MPT_SETTINGS", str(tmp_path / "absent.toml"))
    with pytest.raises(SettingsError):
        read_settings(tmp_path)


def test_every_problem_is_listed_and_survives_pickle(tmp_path: Path) -> None:
    (tmp_path / "mpt.toml").write_text(
        "fetsh = true\nfetch = 1\nwheelhouses = 3\nmax_diff_bytes = -1\nsecrets = 'show'\n"
        "indexes = [{url = 'https://example.org'}, {url = 3}]\n"
    )
    with pytest.raises(SettingsError) as caught:
        read_settings(tmp_path)
    assert len(caught.value.problems) == 7
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.problems) == (caught.value.path, caught.value.problems)


@pytest.mark.parametrize(
    ("repository", "allowed"),
    [
        ("https://example.org/team/zoo", True),
        ("https://example.org/team", True),
        ("https://example.org/teamwork/zoo", False),
        ("https://example.org.evil/team/zoo", False),
        ("ssh://example.org/team/zoo", False),
        ("https://example.org@evil.example/team/zoo", False),
        ("https://example.org:443@evil.example/team/zoo", False),
        ("https://example.org/team@evil.example/zoo", False),
        ("https://me@example.org/team/zoo", False),
        ("http://example.org/team/zoo", False),
        ("HTTPS://EXAMPLE.ORG/team/zoo", False),
        ("https://example.org//team/zoo", False),
        ("https://example.org/team/", True),
        ("https://example.org/team?x=/zoo", False),
        ("https://example.org/team/../other", False),
        ("https://example.org/team/%2e%2e/other", False),
        ("https://example.org/team%2f..%2fother", False),
        ("https://example.org/team/x\\\\..\\\\..\\\\other", False),
        ("git@example.org:team/zoo", False),
        ("ext::sh -c x https://example.org/team/zoo", False),
        ("file://example.org/team/zoo", False),
        ("-oProxyCommand=x", False),
        (" https://example.org/team/zoo", False),
    ],
)
def test_a_repository_is_allowed_by_whole_path_components(tmp_path: Path, repository: str, allowed: bool) -> None:
    (tmp_path / "mpt.toml").write_text("repositories = ['https://example.org/team', 'local']\n")
    settings = read_settings(tmp_path)
    assert settings.allows_repository(repository) is allowed
    assert settings.allows_repository(str(tmp_path / "local" / "zoo"))
    assert not settings.allows_repository(str(tmp_path / "locality"))


def test_an_index_gives_only_the_names_it_is_listed_for(tmp_path: Path) -> None:
    (tmp_path / "mpt.toml").write_text("indexes = [{url = 'https://example.org', packages = ['x-*', 'einops']}]\n")
    (index,) = read_settings(tmp_path).indexes
    assert [index.gives(name) for name in ("X_transformers", "einops", "model-zoo", "einops-extra")] == [
        True,
        True,
        False,
        False,
    ]
