"""Whatever state a working tree is in, a rebuild has its very bytes, or it is said what lacks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import ProvenanceError
from app_loader.package_digest import package_digest
from app_loader.provenance import BuiltWheel, build_wheel, find_provenance
from app_loader.settings import Settings

Git = Callable[..., str]


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("__init__.py")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner.py").write_text("x = 1\n")


EDITS: dict[str, Callable[[Path], object]] = {
    "line ends of both kinds": lambda p: (p / "text.txt").write_bytes(b"a\r\nb\nc\r"),
    "no line end at all": lambda p: (p / "__init__.py").write_bytes(b"answer = 2"),
    "white space that git complains of": lambda p: (p / "__init__.py").write_bytes(b"answer = 2   \n\t \n\n\n"),
    "names with spaces, quotes, line feeds and letters": lambda p: (p / 'ä "new"\nfile.py').write_text("x = 1\n"),
    "a name that looks like an option": lambda p: (p / "--cached").write_text("x\n"),
    "a name with the signs of a pattern": lambda p: (p / ":(top)*[a].py").write_text("x = 1\n"),
    "an executable file": lambda p: (p / "__init__.py").chmod(0o755),
    "a link in the place of a file": lambda p: replace_by_link(p / "doomed.py"),
    "a folder in the place of a file": lambda p: replace_by_folder(p / "doomed.py"),
    "a rename": lambda p: (p / "doomed.py").rename(p / "renamed.py"),
    "binary data": lambda p: (p / "data.bin").write_bytes(bytes(reversed(range(256))) * 40),
    "an empty file": lambda p: (p / "empty.py").write_bytes(b""),
    "what a keyword expands to": lambda p: (p / "keyword.id").write_text("$Id: 0123 $\n"),
    "text in another encoding": lambda p: (p / "wide.u16").write_text("é\n", encoding="utf-16-le"),
}


def rebuild(repository: Path, package: Path, scratch: Path) -> BuiltWheel:
    """Build what the tree's provenance says in a folder of its own."""
    found = find_provenance(package)
    assert found.commit is not None
    return build_wheel(
        str(repository), found.commit, scratch, distribution="toy-zoo", package="toy_zoo", diff=found.diff
    )


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_comes_back_byte_for_byte(
    edit: Callable[[Path], object], package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    (package / "text.txt").write_text("a\nb\nc\n")
    (repository / ".gitattributes").write_text(
        "*.txt text eol=crlf\n*.id ident\n*.u16 text working-tree-encoding=UTF-16LE\n*.bin -diff\n"
    )
    git("add", ".")
    git("commit", "--quiet", "-m", "second")
    edit(package)
    assert rebuild(repository, package, tmp_path / "build").source_sha256 == package_digest(package)


HOSTILE = {
    "diff.external": "/bin/false",
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.context": "0",
    "diff.orderFile": "/nonexistent",
    "diff.algorithm": "patience",
    "diff.renames": "copies",
    "color.ui": "always",
    "core.quotePath": "false",
    "core.autocrlf": "true",
    "core.eol": "crlf",
    "core.whitespace": "fix",
    "apply.whitespace": "fix",
    "apply.ignoreWhitespace": "change",
}


def test_no_setting_of_a_user_or_of_the_environment_changes_what_is_recorded(
    package: Path, git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (package / "__init__.py").write_text("answer = 2\n")
    (package / "ä new.py").write_text("x = 1\n")
    plain = find_provenance(package)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for key, value in HOSTILE.items():
        git("config", key, value)
        git("config", "--global", key, value)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/false")
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u0")
    assert find_provenance(package) == plain


def test_nothing_that_the_repository_configures_is_run(package: Path, git: Git, tmp_path: Path) -> None:
    (package.parents[2] / ".gitattributes").write_text("*.py filter=mark diff=mark\n*.bin filter=mark\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "second")
    marker = tmp_path / "ran"
    command = f"touch {marker}; cat"
    for key in ("filter.mark.clean", "filter.mark.smudge", "diff.mark.textconv", "diff.mark.command", "core.fsmonitor"):
        git("config", key, command)
    (package / "data.bin").write_bytes(b"changed")
    (package / "new.py").write_text("x = 1\n")
    found = find_provenance(package)
    assert not marker.exists()
    assert any("data.bin: the git filter mark" in reason for reason in found.unrecorded)


def test_what_git_ignores_in_the_package_is_named_and_not_recorded(package: Path) -> None:
    (package / "noise.log").write_text("ignored")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"")
    found = find_provenance(package)
    assert found.diff is None
    assert found.unrecorded == ("packages/zoo/toy_zoo/noise.log: git ignores it",)


def test_only_files_of_the_package_and_of_its_build_are_taken_untracked(package: Path) -> None:
    project = package.parent
    (project / "results.csv").write_text("a private result\n")
    (project / "setup.cfg").write_text("[metadata]\n")
    (project / "README.md").write_text("read me\n")
    (project / "notes").mkdir()
    (project / "notes" / "setup.py").write_text("no part of it\n")
    found = find_provenance(package)
    assert found.diff is not None
    assert (b"setup.cfg" in found.diff, b"README.md" in found.diff) == (True, True)
    assert (b"results.csv" in found.diff, b"notes" in found.diff) == (False, False)


BESIDE = {
    "a package": ("import toy_more.deep as deep", "toy_more", {"__init__.py": "", "deep.py": "", "table.yaml": "x: 1"}),
    "one that another imports": (
        "from toy_more import f",
        "toy_last",
        {"__init__.py": "", "../toy_more/__init__.py": "def f():\n    from toy_last import g"},
    ),
    "a relative one": ("from . import sub\nfrom .sub import x", "", {}),
    "a module": ("import json, toy_single", "", {"toy_single.py": "x = 1"}),
    "one behind another statement": (
        "import json; import toy_single  # as in stranger",
        "",
        {"toy_single.py": "x = 1"},
    ),
    "one with a comment between": (
        "from toy_more import (  # see (1), and not stranger\n    f,\n    deep)",
        "toy_more",
        {"__init__.py": "", "deep.py": ""},
    ),
    "one of several lines": (
        "from toy_more import (\n    f,\n    deep)",
        "toy_more",
        {"__init__.py": "", "deep.py": ""},
    ),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_a_package_imports_beside_itself_is_recorded_though_git_does_not_know_it(package: Path, kind: str) -> None:
    statement, folder, files = BESIDE[kind]
    (package / "__init__.py").write_text(statement)
    (package / "sub.py").write_text("x = 1\n")
    for name, text in files.items():
        path = (package.parent / folder / name).resolve()
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    (package.parent / "stranger").mkdir()
    (package.parent / "stranger" / "__init__.py").write_text("not_imported = True\n")
    patch = find_provenance(package).diff or b""
    for name in files:
        recorded = (package.parent / folder / name).resolve().relative_to(package.parents[2])
        assert f"diff --git a/{recorded} b/{recorded}\n".encode() in patch
    assert b"stranger/" not in patch


def test_a_package_of_a_namespace_imports_others_of_it(package: Path, git: Git) -> None:
    inner, other = package.parent / "org" / "zoo", package.parent / "org" / "more"
    for folder in (inner, other):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    git("add", "packages/zoo/org/zoo")
    git("commit", "--quiet", "-m", "a namespace")
    for statement in ("from org import more", "import org.more", "from ..more import x", "from .. import more"):
        (inner / "__init__.py").write_text(f"{statement}\n")
        assert b"org/more/__init__.py" in (find_provenance(inner).diff or b""), statement


def test_a_folder_of_data_with_the_name_of_an_imported_library_is_no_package(package: Path) -> None:
    (package / "__init__.py").write_text("import datasets\n")
    (package.parent / "datasets").mkdir()
    (package.parent / "datasets" / "private.csv").write_text("1\n")
    assert b"private" not in (find_provenance(package).diff or b"")


@pytest.mark.parametrize("intent", [("add",), ("add", "--intent-to-add")])
def test_what_was_added_to_the_index_is_recorded_as_it_lies_in_the_tree(
    package: Path, git: Git, intent: tuple[str, ...]
) -> None:
    other = package.parent / "other.py"
    other.write_text("x = 'staged'\n")
    git(*intent, "packages/zoo/other.py")
    other.write_text("x = 'in the tree'\n")
    found = find_provenance(package)
    assert found.diff is not None
    assert b"in the tree" in found.diff
    assert b"'staged'" not in found.diff


def test_a_merge_in_progress_is_recorded_as_it_lies_in_the_tree(
    package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    for branch, answer in (("one", 2), ("two", 3)):
        git("checkout", "--quiet", "-b", branch, "main")
        (package / "__init__.py").write_text(f"answer = {answer}\n")
        git("commit", "--quiet", "-am", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "one")
    assert b"<<<<<<<" in (package / "__init__.py").read_bytes()
    assert rebuild(repository, package, tmp_path / "build").source_sha256 == package_digest(package)


def test_a_sparse_checkout_has_removed_nothing(package: Path, git: Git) -> None:
    (package.parent / "docs").mkdir()
    (package.parent / "docs" / "a.txt").write_text("a\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "second")
    git("sparse-checkout", "set", "packages/zoo/toy_zoo")
    assert not (package.parent / "docs").exists()
    assert find_provenance(package).dirty is False


def test_a_worktree_a_shallow_clone_and_a_detached_head_are_recorded(
    package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    (package / "__init__.py").write_text("answer = 2\n")
    git("commit", "--quiet", "-am", "second")
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    git("clone", "--quiet", "--depth=1", repository.as_uri(), str(tmp_path / "shallow"))
    for place, branch in (("tree", None), ("shallow", "main")):
        inner = tmp_path / place / "packages" / "zoo" / "toy_zoo"
        (inner / "new.py").write_text("x = 1\n")
        found = find_provenance(inner)
        assert (found.commit, found.branch, found.dirty) == (git("rev-parse", "HEAD"), branch, True)
        build = rebuild(tmp_path / place, inner, tmp_path / f"build {place}")
        assert build.source_sha256 == package_digest(inner)


def test_a_submodule_is_its_own_repository_and_one_inside_the_package_is_named(
    package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    git("init", "--quiet", str(outer))
    git("-C", str(outer), "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "inner")
    found = find_provenance(outer / "inner" / "packages" / "zoo" / "toy_zoo")
    assert (found.repository, found.commit, found.dirty) == (str(repository), git("rev-parse", "HEAD"), False)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "packages/zoo/toy_zoo/sub")
    git("commit", "--quiet", "-m", "a submodule")
    assert "toy_zoo/sub: a repository of its own" in find_provenance(package).unrecorded[0]


def test_a_package_that_was_never_added_is_recorded_whole(
    package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    new = repository / "packages" / "new"
    shutil.copytree(package.parent, new)
    (new / "pyproject.toml").write_text((new / "pyproject.toml").read_text().replace("toy-zoo", "new-zoo"))
    (new / "toy_zoo").rename(new / "new_zoo")
    git("add", "packages/new/backend.py")
    git("commit", "--quiet", "-m", "only the backend")
    found = find_provenance(new / "new_zoo")
    assert found.dirty
    build = build_wheel(
        str(repository),
        str(found.commit),
        tmp_path / "build",
        distribution="new-zoo",
        package="new_zoo",
        diff=(found.diff or b""),
    )
    assert build.source_sha256 == package_digest(new / "new_zoo")


def test_an_installed_package_does_not_come_from_the_tree_it_lies_in(package: Path, repository: Path) -> None:
    installed = repository / ".venv" / "lib" / "site-packages" / "toy_zoo"
    shutil.copytree(package, installed)
    assert find_provenance(installed).commit is None


def test_a_repository_without_a_commit_says_so(tmp_path: Path, git: Git) -> None:
    (tmp_path / "repository" / "zoo").mkdir()
    (tmp_path / "repository" / "zoo" / "__init__.py").write_text("")
    found = find_provenance(tmp_path / "repository" / "zoo")
    assert (found.commit, found.dirty, found.unrecorded) == (None, True, ("the repository has no commit yet",))


def test_a_file_that_git_lfs_keeps_is_clean_and_comes_back_from_the_clone(
    package: Path, repository: Path, git: Git, tmp_path: Path
) -> None:
    content = b"\0weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
    (repository / ".gitattributes").write_text("*.big filter=lfs diff=lfs merge=lfs -text\n")
    (package / "weights.big").write_text(pointer)
    git("add", ".")
    git("commit", "--quiet", "-m", "a large file")
    (package / "weights.big").write_bytes(content)
    assert find_provenance(package).dirty is False
    without = rebuild(repository, package, tmp_path / "without")
    assert without.missing == ("toy_zoo/weights.big",)
    kept = repository / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    assert rebuild(repository, package, tmp_path / "with").source_sha256 == package_digest(package)
    (package / "weights.big").write_bytes(b"trained further")
    assert rebuild(repository, package, tmp_path / "changed").source_sha256 == package_digest(package)


def test_too_large_a_difference_names_the_largest_files(package: Path) -> None:
    (package / "weights.bin").write_bytes(bytes(range(256)) * 400)
    with pytest.raises(ProvenanceError) as caught:
        find_provenance(package, Settings(max_diff_bytes=100))
    assert "toy_zoo/weights.bin (102400 bytes)" in caught.value.problems[0]
    with (package / "huge.bin").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing: git must not be asked to pack it
    with pytest.raises(ProvenanceError):
        find_provenance(package)


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://user:token@example.org/zoo.git", "https://example.org/zoo.git"),
        ("team:zoo", "https://example.org/team/zoo"),
        ("../upstream", "{parent}/upstream"),
        ("ssh://git@example.org:2222/zoo", "ssh://git@example.org:2222/zoo"),
    ],
)
def test_a_remote_is_recorded_as_it_is_meant_elsewhere(
    url: str, recorded: str, package: Path, repository: Path, git: Git
) -> None:
    (repository.parent / "upstream").mkdir()
    git("config", "url.https://someone:secret@example.org/team/.insteadOf", "team:")
    git("remote", "add", "mirror", url)
    git("config", "branch.main.remote", "mirror")
    git("remote", "add", "origin", "https://example.org/other")
    assert find_provenance(package).repository == recorded.format(parent=repository.parent)


def test_a_link_of_the_package_that_leads_out_of_the_repository_is_named(
    package: Path, git: Git, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "part.py").write_text("scale = 1\n")
    (package / "within.py").symlink_to("doomed.py")
    (package / "new").symlink_to(tmp_path / "elsewhere")
    assert [each.partition(":")[0] for each in find_provenance(package).unrecorded] == ["packages/zoo/toy_zoo/new"]
    git("add", ".")
    git("commit", "--quiet", "-m", "linked")
    assert len(find_provenance(package).unrecorded) == 1
