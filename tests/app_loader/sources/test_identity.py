"""What a wheel is called decides nothing by itself: its file, its metadata and its digest have to agree."""

from __future__ import annotations

import json
import marshal
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from app_loader import load_policy, save_policy
from app_loader.cli.zoo import zoo
from app_loader.code import StoredCode
from app_loader.errors import IntegrityError, SettingsError, SourceRefusedError, UnsafeWheelError, VersionNotStoredError
from app_loader.isolated import unload
from app_loader.settings import Index, Settings, read_settings
from app_loader.sources import PinnedCompanion, add_archive, add_requirement, add_wheels
from app_loader.store import Store
from app_loader.store.wheel import Wheel, read_wheel, wheel_sha256
from click.testing import CliRunner
from mpt_format import open_archive
from policy_interface import GameRules

from tests.app_loader.loading.conftest import rules as rules  # a fixture
from tests.app_loader.loading.conftest import tiny_source

MakeWheel = Callable[..., Path]
POINTS = "[policy_interface.architectures]\ntiny = pair_zoo:TinyArchitecture\n"


def test_a_wheel_is_refused_whose_file_names_another_project_or_version(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    wheel = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": ""})
    for name in ("model_zoo-1.0-py3-none-any.whl", "toy_zoo-2.0-py3-none-any.whl"):
        renamed = Path(shutil.copy(wheel, tmp_path / name))
        with pytest.raises(UnsafeWheelError):
            store.add([renamed])
    store.add([Path(shutil.copy(wheel, tmp_path / "Toy.Zoo-1.0.0-py3-none-any.whl"))])  # the same, spelled otherwise


@pytest.mark.parametrize("name", ["m\u043edel-zoo", "model-zoo\u200b", "-model-zoo"])
def test_a_name_in_letters_that_only_look_alike_is_no_name(make_wheel: MakeWheel, store: Store, name: str) -> None:
    with pytest.raises(UnsafeWheelError):
        store.add([make_wheel(name, "1.0", {"model_zoo.py": ""})])


@pytest.mark.parametrize("pattern", ["model_zoo", "Model.Zoo", "MODEL--ZOO", "model-*"])
def test_an_index_is_listed_for_a_name_in_any_spelling(pattern: str) -> None:
    index = Index(url="https://example.org", packages=(pattern,))
    assert index.gives("model__zoo")
    assert not index.gives("m\u043edel-zoo")
    assert not index.gives("my-model-zoo")


def test_a_local_version_is_not_slipped_in_for_the_public_one(
    make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    house = tmp_path / "house"
    house.mkdir()
    for number in ("1.0", "1.0+stranger"):
        shutil.copy(make_wheel("toy-zoo", number, {"toy_zoo.py": number}), house)
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo==1.0", Settings(wheelhouses=(house,)))


@pytest.mark.parametrize("digest", ["", "a", "0123456", "not a digest", "g" * 64])
def test_a_digest_that_is_none_pins_nothing_and_is_refused(make_wheel: MakeWheel, store: Store, digest: str) -> None:
    with pytest.raises(IntegrityError):
        add_wheels(store, [make_wheel("toy-zoo", "1.0", {"toy_zoo.py": ""})], sha256=digest)
    assert store.entries() == []


def test_a_requirement_by_url_is_refused_before_anything_is_asked(store: Store) -> None:
    with pytest.raises(SourceRefusedError):
        add_requirement(store, "toy-zoo @ http://127.0.0.1:9/toy_zoo-1.0-py3-none-any.whl", Settings(fetch=True))


def test_what_is_unpacked_is_what_was_hashed_though_the_file_changes_meanwhile(
    make_wheel: MakeWheel, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 1"})
    other = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 2"})
    wheel = Path(shutil.copy(honest, tmp_path / honest.name))
    hashed = wheel_sha256

    def swap(path: Path) -> str:
        found = hashed(path)
        Path(shutil.copy(other, tmp_path / "other.whl")).replace(path)
        return found

    monkeypatch.setattr("app_loader.store.store.wheel_sha256", swap)
    with pytest.raises(IntegrityError):
        store.add([wheel], sha256=wheel_sha256(honest))
    assert store.entries() == []


def test_a_file_that_is_swapped_after_it_was_read_is_not_what_is_unpacked(
    make_wheel: MakeWheel, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 1"})
    other = make_wheel("toy-zoo", "1.0", {"toy_zoo.py": "answer = 2"})
    wheel = Path(shutil.copy(honest, tmp_path / honest.name))

    def swap(path: Path, **options: Path) -> Wheel:
        found = read_wheel(path, **options)
        Path(shutil.copy(other, tmp_path / "other.whl")).replace(wheel)
        return found

    monkeypatch.setattr("app_loader.store.store.read_wheel", swap)
    entry = store.add([wheel], sha256=wheel_sha256(honest))
    assert wheel_sha256(wheel) == wheel_sha256(other)
    assert (entry.import_module("toy_zoo").answer, entry.verify()) == (1, [])


def test_a_full_check_sees_data_of_the_code_that_was_changed_in_the_store(
    make_wheel: MakeWheel, store: Store, rules: GameRules, tmp_path: Path
) -> None:
    entry = store.add(
        [
            make_wheel(
                "pair-zoo", "1.0", {"pair_zoo/__init__.py": tiny_source(), "pair_zoo/d.bin": b"1"}, entry_points=POINTS
            )
        ]
    )
    save_policy(StoredCode(entry).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    load_policy(tmp_path / "run.mpt", store=store, verify="full")
    data = entry.path / "pair_zoo" / "d.bin"
    data.chmod(0o644)
    data.write_bytes(b"2")
    with pytest.raises(IntegrityError):
        load_policy(tmp_path / "run.mpt", store=store, verify="full")


def test_a_full_check_does_not_run_what_was_put_among_the_compiled_modules(
    make_wheel: MakeWheel, store: Store, rules: GameRules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    entry = store.add([make_wheel("pair-zoo", "1.0", {"pair_zoo.py": tiny_source()}, entry_points=POINTS)])
    save_policy(StoredCode(entry).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    (compiled,) = (store.path / "bytecode").rglob("pair_zoo.pyc")
    mark = tmp_path / "ran"
    evil = compile(f"open({str(mark)!r}, 'w').close()\n{tiny_source()}", str(entry.path / "pair_zoo.py"), "exec")
    compiled.write_bytes(compiled.read_bytes()[:20] + marshal.dumps(evil))
    unload(entry.unit)
    load_policy(tmp_path / "run.mpt", store=store, verify="full")
    assert not mark.exists()


@pytest.fixture
def pair(make_wheel: MakeWheel) -> Callable[[float], list[Path]]:
    """Return a maker of a main wheel beside a companion of a given scale, which does the computing."""
    main = make_wheel(
        "pair-zoo", "1.0", {"pair_zoo.py": "from side_zoo import *\n"}, entry_points=POINTS, requires=("side-zoo",)
    )

    def make(scale: float) -> list[Path]:
        return [main, make_wheel("side-zoo", "1.0", {"side_zoo/__init__.py": tiny_source(scale=scale)})]

    return make


def test_a_companion_is_pinned_by_its_own_digest_in_the_archive(
    pair: Callable[[float], list[Path]], store: Store, rules: GameRules, tmp_path: Path
) -> None:
    wheels = pair(1.0)
    trained = store.add(wheels)
    torch.manual_seed(0)
    save_policy(StoredCode(trained).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    with open_archive(tmp_path / "run.mpt") as archive:
        listed = archive.manifest.requires["companions"]
        record = archive.manifest.code
    assert listed == [{"distribution": "side-zoo", "version": "1.0", "wheel_sha256": wheel_sha256(wheels[1])}]
    assert record is not None
    store.remove(trained)

    house, strangers = tmp_path / "house", tmp_path / "strangers"
    for folder, wheel in ((house, wheels[0]), (house, wheels[1]), (strangers, pair(2.0)[1])):
        folder.mkdir(exist_ok=True)
        shutil.copy(wheel, folder)
    (tmp_path / "mpt.toml").write_text(f"wheelhouses = {json.dumps([str(strangers), str(house)])}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        added = CliRunner().invoke(zoo, ["add", "run.mpt", "--store", str(store.path)])
    assert added.exit_code == 0, added.output
    assert store.entries()[0].digest == record.unit_sha256
    assert load_policy(tmp_path / "run.mpt", store=store, verify="witness").origin.mode == "isolated"


def test_what_an_archive_pins_and_the_store_has_is_not_looked_for(
    pair: Callable[[float], list[Path]], store: Store, rules: GameRules, tmp_path: Path
) -> None:
    trained, other = store.add(pair(1.0)), store.add(pair(2.0)[:1])
    save_policy(StoredCode(trained).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    with open_archive(tmp_path / "run.mpt") as archive:
        record = archive.manifest.code
    assert record is not None
    assert add_archive(store, record, Settings()).digest == trained.digest
    store.remove(trained)
    with pytest.raises(SourceRefusedError):  # the main wheel alone is not the unit that was pinned
        add_archive(store, record, Settings())
    assert [entry.digest for entry in store.entries()] == [other.digest]


def test_another_companion_is_refused_before_it_is_stored(
    pair: Callable[[float], list[Path]], store: Store, rules: GameRules, tmp_path: Path
) -> None:
    trained = store.add(pair(1.0))
    save_policy(StoredCode(trained).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    with open_archive(tmp_path / "run.mpt") as archive:
        record = archive.manifest.code
    assert record is not None
    store.remove(trained)
    house = tmp_path / "house"
    house.mkdir()
    for wheel in pair(2.0):
        shutil.copy(wheel, house)
    settings = Settings(wheelhouses=(house,))
    with pytest.raises(IntegrityError):  # as an archive of app-loader 1.0, which lists no companions
        add_archive(store, record, settings)
    pinned = [PinnedCompanion(distribution="side-zoo", version="1.0", sha256="0" * 64)]
    with pytest.raises(SourceRefusedError):
        add_archive(store, record, settings, pinned=pinned)
    assert store.entries() == []


def test_a_load_says_which_companions_nobody_pinned(
    pair: Callable[[float], list[Path]], make_wheel: MakeWheel, store: Store, rules: GameRules, tmp_path: Path
) -> None:
    main = make_wheel("pair-zoo", "1.0", {"pair_zoo/__init__.py": tiny_source()}, entry_points=POINTS)
    alone = store.add([main])
    save_policy(StoredCode(alone).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    store.remove(alone)
    store.add([main, pair(2.0)[1]])
    reason = load_policy(tmp_path / "run.mpt", store=store).origin.reason
    assert "does not pin its private companions: side-zoo 1.0" in reason


@pytest.mark.parametrize(
    ("allowed", "named"),
    [
        ("https://example.org/team", "https://example.org/team/../other/zoo"),
        ("https://example.org/team", "https://example.org/team/%2e%2e/other/zoo"),
        ("https://example.org/team", "https://example.org/teammate/zoo"),
        ("https://example.org/team", "https://example.org@evil.example/team/zoo"),
        ("git@example.org:team", "git@example.org:team/../other"),
        (".", "evil.example:zoo"),
        (".", "ext::sh -c true"),
        (".", "../elsewhere"),
    ],
)
def test_a_repository_beside_the_allowed_ones_is_not_allowed(
    allowed: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPT_SETTINGS", raising=False)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mpt.toml").write_text(f"fetch = true\nrepositories = [{json.dumps(allowed)}]\n")
    monkeypatch.chdir(tmp_path / "here")
    assert not read_settings().allows_repository(named)


def test_a_repository_that_moved_is_looked_for_where_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "mpt.toml").write_text(
        "[moved]\n'https://old.example/team' = 'https://new.example/group'\n"
        "'https://old.example/team/zoo' = 'clones/zoo'\n'git@old.example:team' = 'https://new.example/group'\n"
    )
    settings = read_settings(tmp_path)
    assert settings.find_moved("https://old.example/team/other.git") == "https://new.example/group/other.git"
    assert settings.find_moved("https://old.example/team/zoo") == str(tmp_path / "clones" / "zoo")
    assert settings.find_moved("git@old.example:team/zoo") == "https://new.example/group/zoo"
    assert settings.find_moved("https://old.example/teammate/zoo") == "https://old.example/teammate/zoo"
    assert settings.allows_repository("https://new.example/group/other.git")
    (tmp_path / "mpt.toml").write_text("moved = ['a']\n")
    with pytest.raises(SettingsError):
        read_settings(tmp_path)


def test_an_archive_names_no_option_of_git_and_no_other_requirement(store: Store, tmp_path: Path) -> None:
    from mpt_format import CodeRecord

    for commit in ("--orphan", "main", "HEAD", "-h"):
        record = CodeRecord(distribution="toy-zoo", version="1.0", repository=str(tmp_path), commit=commit)
        with pytest.raises(Exception, match="records the commit"):
            add_archive(store, record, Settings(), from_source=True, repository=str(tmp_path))
    for name, version in (
        ("toy-zoo @ http://127.0.0.1/x.whl ;", "1"),
        ("toy-zoo[x]", "1"),
        ("toy-zoo", "1,>0"),
        ("a b", "1"),
    ):
        record = CodeRecord(distribution=name, version=version, wheel_sha256="0" * 64)
        with pytest.raises(SourceRefusedError):
            add_archive(store, record, Settings())


def test_the_next_command_for_code_that_is_nowhere_names_what_is_pinned(
    make_wheel: MakeWheel, store: Store, rules: GameRules, tmp_path: Path
) -> None:
    wheel = make_wheel("pair-zoo", "1.0", {"pair_zoo/__init__.py": tiny_source()}, entry_points=POINTS)
    entry = store.add([wheel])
    save_policy(StoredCode(entry).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    store.remove(entry)
    with pytest.raises(VersionNotStoredError) as caught:
        load_policy(tmp_path / "run.mpt", store=store)
    assert caught.value.digest == wheel_sha256(wheel)
