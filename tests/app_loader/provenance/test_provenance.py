"""A run's source is recorded whole, without secrets, and builds again from the record and the repository alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import IntegrityError, ProvenanceError, SourceRefusedError
from app_loader.package_digest import package_digest
from app_loader.provenance import build_wheel, find_provenance, find_secrets, strip_credentials
from app_loader.settings import Settings
from app_loader.sources import add_archive, add_repository
from app_loader.sources.wheelhouse import wheel_sha256
from app_loader.store import Store
from mpt_format import CodeRecord

Git = Callable[..., str]


def make_dirty(package: Path) -> None:
    (package / "__init__.py").write_text("from toy_zoo.new import answer\n")
    (package / "data.bin").write_bytes(bytes(reversed(range(256))))
    (package / "doomed.py").unlink()
    (package / "new.py").write_text("answer = 'from a dirty tree'\n")  # git does not know it
    (package / "noise.log").write_text("ignored")
    (package.parents[2] / "elsewhere.txt").write_text("not of the project")


def test_a_clean_tree_is_recorded_by_its_commit(package: Path, git: Git) -> None:
    found = find_provenance(package)
    assert (found.repository, found.commit, found.branch) == (str(package.parents[2]), git("rev-parse", "HEAD"), "main")
    assert (found.dirty, found.diff) == (False, None)


def test_a_dirty_tree_is_recorded_with_its_difference_and_the_repository_is_only_read(package: Path, git: Git) -> None:
    make_dirty(package)
    before = (git("status", "--porcelain"), git("count-objects"))
    found = find_provenance(package)
    assert found.dirty
    assert found.diff is not None
    for name in (b"new.py", b"data.bin", b"doomed.py", b"GIT binary patch"):
        assert name in found.diff
    assert b"noise.log" not in found.diff
    assert b"elsewhere.txt" not in found.diff
    assert (git("status", "--porcelain"), git("count-objects")) == before


def test_a_folder_outside_git_has_no_provenance(tmp_path: Path) -> None:
    assert find_provenance(tmp_path).commit is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:token@example.org/zoo.git", "https://example.org/zoo.git"),
        ("https://token@example.org:8443/zoo?key=1", "https://example.org:8443/zoo"),
        ("git@example.org:team/zoo.git", "git@example.org:team/zoo.git"),
        ("/srv/zoo", "/srv/zoo"),
    ],
)
def test_credentials_do_not_leave_with_a_url(url: str, kept: str) -> None:
    assert strip_credentials(url) == kept


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "-----BEGIN RSA PRIVATE " + "KEY-----",
        "ghp_" + "a" * 36,
        "hf_" + "b" * 34,
        'api_key = "' + "c" * 12 + '"',
    ],
)
def test_a_difference_with_a_secret_is_refused_by_place_and_never_quoted(package: Path, secret: str) -> None:
    (package / "new.py").write_text(f"\n\nx = 1\n{secret}\n")
    with pytest.raises(ProvenanceError) as caught:
        find_provenance(package)
    assert any("toy_zoo/new.py:4" in problem for problem in caught.value.problems)
    assert secret not in str(caught.value)
    assert find_provenance(package, Settings(secrets="record")).dirty


def test_a_secret_that_a_difference_removes_stands_in_it_and_is_found() -> None:
    difference = b"--- a/x\n+++ b/x\n@@ -7,2 +7 @@\n-x = 1\n-AKIAABCDEFGHIJKLMNOP\n+nothing\n"
    assert find_secrets(difference) == [("x:8 as it was", "an AWS key")]


def test_a_difference_above_the_limit_is_refused(package: Path) -> None:
    (package / "new.py").write_text("x = 1\n" * 1000)
    with pytest.raises(ProvenanceError):
        find_provenance(package, Settings(max_diff_bytes=1000))


def test_one_commit_builds_to_the_same_bytes_twice(repository: Path, git: Git, tmp_path: Path) -> None:
    commit = git("rev-parse", "HEAD")
    built = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        built.append(build_wheel(str(repository), commit, tmp_path / name, distribution="Toy_Zoo"))
    assert wheel_sha256(built[0].path) == wheel_sha256(built[1].path)
    assert (built[0].subdirectory, built[0].commit) == ("packages/zoo", commit)


def test_a_repository_at_a_commit_becomes_an_entry(repository: Path, git: Git, store: Store, package: Path) -> None:
    first = git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("answer = 2\n")
    git("commit", "--quiet", "-am", "second")
    old = add_repository(store, str(repository), first, Settings(), distribution="toy-zoo")
    new = add_repository(store, str(repository), "main", Settings(), subdirectory="packages/zoo")
    assert [entry.import_module("toy_zoo").answer for entry in (old, new)] == [1, 2]
    assert (old.provenance["commit"], old.provenance["subdirectory"]) == (first, "packages/zoo")


def test_a_repository_may_be_named_relative_to_the_working_directory(
    repository: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.parent)
    entry = add_repository(store, repository.name, "main", Settings(), distribution="toy-zoo")
    assert entry.import_module("toy_zoo").answer == 1


def dirty_record(package: Path) -> tuple[CodeRecord, bytes]:
    """What a training run in a dirty tree leaves in its archive."""
    make_dirty(package)
    (package / "noise.log").unlink()
    found = find_provenance(package)
    assert found.diff is not None
    record = CodeRecord(
        distribution="toy-zoo",
        version="1.0",
        package="toy_zoo",
        package_sha256=package_digest(package),
        repository=found.repository,
        commit=found.commit,
        dirty=True,
        diff_member="source.diff",
    )
    return record, found.diff


def test_a_run_from_a_dirty_tree_builds_again_from_commit_and_difference(
    package: Path, repository: Path, git: Git, store: Store
) -> None:
    record, diff = dirty_record(package)
    git("checkout", "--quiet", "--force", ".")
    git("clean", "--quiet", "--force", "-d")
    entry = add_archive(store, record, Settings(repositories=(str(repository),)), diff=diff, from_source=True)
    assert entry.import_module("toy_zoo").answer == "from a dirty tree"
    assert entry.provenance["with_diff"]
    assert "pinned digest" in str(entry.provenance["accepted_because"])


def test_a_build_with_another_digest_is_refused_unless_named(package: Path, repository: Path, store: Store) -> None:
    record, _ = dirty_record(package)
    with pytest.raises(IntegrityError) as caught:
        add_archive(store, record, Settings(), from_source=True, repository=str(repository))  # without its difference
    assert store.entries() == []
    named = caught.value.next_command.split("--accept-digest ")[1].split()[0]
    entry = add_archive(store, record, Settings(), from_source=True, repository=str(repository), accept_digest=named)
    assert entry.digest == named
    assert entry.provenance["pinned"] == record.package_sha256


def test_a_repository_that_only_an_archive_names_needs_a_setting(package: Path, store: Store) -> None:
    record, diff = dirty_record(package)
    with pytest.raises(SourceRefusedError):
        add_archive(store, record, Settings(), diff=diff, from_source=True)
    record = CodeRecord(distribution="toy-zoo", version="1.0", repository="https://example.org/zoo", commit="0" * 40)
    with pytest.raises(SourceRefusedError) as caught:
        add_archive(store, record, Settings(), from_source=True)
    assert len(caught.value.problems) == 2


def test_a_commit_that_is_not_there_is_reported_in_gits_words(repository: Path, store: Store) -> None:
    with pytest.raises(ProvenanceError) as caught:
        add_repository(store, str(repository), "0" * 40, Settings())
    assert caught.value.problems
    assert store.entries() == []


def test_an_archive_without_a_repository_says_what_else_would_help(store: Store) -> None:
    record = CodeRecord(distribution="toy-zoo", version="1.0")
    with pytest.raises(ProvenanceError):
        add_archive(store, record, Settings(), from_source=True)
    with pytest.raises(SourceRefusedError):
        add_archive(store, record, Settings())


def test_git_runs_no_hook_of_the_repository(repository: Path, git: Git, tmp_path: Path, store: Store) -> None:
    marker = tmp_path / "ran"
    for name in ("post-checkout", "post-index-change", "pre-commit"):
        hook = repository / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
        hook.chmod(0o755)
    find_provenance(repository / "packages" / "zoo" / "toy_zoo")
    add_repository(store, str(repository), git("rev-parse", "HEAD"), Settings(), distribution="toy-zoo")
    assert not marker.exists()
