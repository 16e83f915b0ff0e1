"""Which code counts as the trained one: never other code, however alike, and nothing is imported to find out."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from app_loader import load_policy, save_policy
from app_loader.code import StoredCode
from app_loader.errors import VersionNotStoredError
from app_loader.package_digest import package_digest
from app_loader.resolve import resolve
from mpt_format import CodeRecord

from tests.app_loader.loading.conftest import tiny_source

POINTS = "[policy_interface.architectures]\ntiny = {package}:TinyArchitecture\n"


@pytest.fixture
def add_with_companion(make_wheel, store):
    """Return an adder of one main wheel beside the companion of a given scale, which does the computing."""
    main = make_wheel(
        "pair-zoo", "1.0", {"pair_zoo.py": "from side_zoo import *\n"}, entry_points=POINTS.format(package="pair_zoo")
    )

    def add(scale: float):
        side = make_wheel("side-zoo", f"{scale}", {"side_zoo/__init__.py": tiny_source(scale=scale)})
        return store.add([main, side])

    return add


def test_the_same_wheel_beside_another_companion_is_other_code(add_with_companion, store, rules, tmp_path):
    trained = add_with_companion(1.0)
    torch.manual_seed(0)
    save_policy(StoredCode(trained).architecture_class("tiny")().make_policy(rules), tmp_path / "run.mpt")
    other = add_with_companion(2.0)
    assert other.wheels[0].sha256 == trained.wheels[0].sha256
    loaded = load_policy(tmp_path / "run.mpt", store=store, verify="witness")
    resolution = resolve(loaded.manifest.code, "trained", store)
    assert [c.code.entry for c in resolution.candidates if c.accepted] == [trained]
    store.remove(trained)
    with pytest.raises(VersionNotStoredError):
        load_policy(tmp_path / "run.mpt", store=store)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution that an installer unpacked from a wheel whose sha256 it recorded; importing it leaves a mark."""
    site = tmp_path / "site"
    (site / "marked_zoo").mkdir(parents=True)
    (site / "marked_zoo" / "__init__.py").write_text(f"open({str(tmp_path / 'MARK')!r}, 'w').close()\n")
    info = site / "marked_zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: marked-zoo\nVersion: 1.0\n")
    (info / "RECORD").write_text("marked_zoo/__init__.py,,\n")
    (info / "entry_points.txt").write_text(POINTS.format(package="marked_zoo"))
    hashes = {"sha256": hashlib.sha256(b"wheel").hexdigest()}
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///w.whl", "archive_info": {"hashes": hashes}}))
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def record(installed: Path) -> CodeRecord:
    return CodeRecord(
        distribution="marked-zoo",
        version="1.0",
        wheel_sha256=hashlib.sha256(b"wheel").hexdigest(),
        package="marked_zoo",
        package_sha256=package_digest(installed / "marked_zoo"),
    )


def test_an_installed_wheel_whose_files_were_edited_is_not_the_trained_code(installed, record, store):
    assert resolve(record, "trained", store).chosen is not None
    with (installed / "marked_zoo" / "__init__.py").open("a") as file:
        file.write("# edited\n")
    assert resolve(record, "trained", store).chosen is None


def test_current_is_what_is_installed_though_the_store_has_newer(installed, record, store, wheel):
    store.add([wheel("2.0", name="marked-zoo")])
    chosen = resolve(record, "current", store).chosen
    assert (chosen.source, chosen.version) == ("environment", "1.0")
    assert resolve(record, "2.0", store).chosen.source == "store"


def test_a_bare_version_is_no_identity_and_no_wheel_is_asked_for(record, store):
    bare = replace(record, wheel_sha256=None, package=None, package_sha256=None)
    resolution = resolve(bare, "trained", store)
    assert resolution.chosen is None
    assert resolution.next_command.startswith("mpt load ARCHIVE --code 1.0")


def test_code_that_was_no_wheel_is_asked_to_be_built_from_its_repository(record, store, tmp_path):
    saved = replace(record, wheel_sha256=None, package_sha256="0" * 64, repository=str(tmp_path), commit="1" * 40)
    command = resolve(saved, "trained", store, archive="run.mpt").next_command
    assert command.startswith(f"mpt zoo add run.mpt --from-source --repository {tmp_path}")
    elsewhere = replace(saved, repository="https://example.org/zoo.git")
    assert "--repository LOCAL_CLONE" in resolve(elsewhere, "trained", store).next_command


@pytest.mark.parametrize("package", ["marked_zoo.inner", "__main__", "..", "/", "json"])
def test_a_package_that_the_distribution_does_not_own_is_neither_looked_at_nor_imported(
    package, record, store, installed
):
    import json.decoder

    named = package_digest(Path(json.decoder.__file__).parent)
    forged = replace(record, wheel_sha256=None, package=package, package_sha256=named)
    assert resolve(forged, "trained", store).chosen is None
    assert not (installed.parent / "MARK").exists()
    assert "marked_zoo" not in sys.modules


def test_the_digest_of_a_package_below_a_bytecode_folder_still_sees_its_files(tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "__pycache__" / "full"
    empty.mkdir()
    full.mkdir(parents=True)
    (full / "a.py").write_text("x = 1\n")
    assert package_digest(full) != package_digest(empty)


def test_code_behind_a_link_to_a_folder_counts_in_the_digest_of_a_package(tmp_path: Path) -> None:
    """It is imported, and a build takes it along: with other code there, the package is another one."""
    package, elsewhere = tmp_path / "toy_zoo", tmp_path / "shared" / "inner"
    for folder in (package, elsewhere):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    (elsewhere / "scale.py").write_text("scale = 1\n")
    (package / "inner").symlink_to(elsewhere)
    (package / "inner" / "again").symlink_to(package)  # a circle ends
    (package / "up").symlink_to("..")
    before = package_digest(package)
    plain = tmp_path / "plain"
    shutil.copytree(elsewhere, plain / "inner", ignore=lambda *_: {"again"})
    (plain / "__init__.py").write_text("")
    (elsewhere / "again").unlink()
    assert package_digest(package) == package_digest(plain)  # as a wheel of it has
    (elsewhere / "scale.py").write_text("scale = 2\n")
    assert package_digest(package) not in (before, package_digest(plain))
