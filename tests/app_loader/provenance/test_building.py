"""A build takes only what a person allows: from the archive, from the repository, and of what it requires."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.errors import ProvenanceError
from app_loader.provenance import build_wheel
from app_loader.settings import Index, Settings

from tests.app_loader.provenance.conftest import BACKEND
from tests.app_loader.sources.conftest import ServeWheels
from tests.app_loader.sources.conftest import serve as serve  # a fixture

Git = Callable[..., str]
MakeWheel = Callable[..., Path]


def new_file(name: str, content: str, mode: str = "100644") -> bytes:
    """Return a difference that adds a file of one line."""
    return (
        f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n"
        f"+{content}\n\\ No newline at end of file\n"
    ).encode()


@pytest.mark.parametrize(
    "diff",
    [
        new_file("../../evil", "x"),
        new_file(".git/hooks/post-checkout", "x", "100755"),
        new_file(".git/config", "x"),
        new_file("link", "/tmp", "120000") + new_file("link/evil", "x"),
        b"no difference at all",
    ],
    ids=["climbing", "hook", "config", "through a link", "nonsense"],
)
def test_a_difference_that_leaves_the_tree_is_refused(diff: bytes, repository: Path, git: Git, tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError):
        build_wheel(
            str(repository), git("rev-parse", "HEAD"), tmp_path / "a" / "build", distribution="toy-zoo", diff=diff
        )
    assert not (tmp_path / "a" / "evil").exists()
    assert not Path("/tmp/evil").exists()


def test_what_a_build_requires_comes_from_a_wheelhouse_and_not_from_an_index_for_other_names(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    project = repository / "packages" / "zoo"
    text = (project / "pyproject.toml").read_text()
    text = text.replace("requires = []", 'requires = ["toy-backend>=1"]').replace('\nbackend-path = ["."]', "")
    (project / "pyproject.toml").write_text(text)
    (project / "backend.py").unlink()
    git("commit", "--quiet", "--all", "-m", "a backend of its own")
    house = make_wheel("toy-backend", "1.0", {"backend.py": BACKEND}).parent
    commit = git("rev-parse", "HEAD")
    elsewhere = Settings(fetch=True, indexes=(Index(url="http://127.0.0.1:9/simple", packages=("toy-zoo",)),))
    for number, settings in enumerate((Settings(), elsewhere)):
        with pytest.raises(ProvenanceError) as caught:
            build_wheel(
                str(repository),
                commit,
                tmp_path / f"{number}",
                distribution="toy-zoo",
                offline=not settings.fetch,
                settings=settings,
            )
        assert "toy-backend" in caught.value.next_command
    built = build_wheel(
        str(repository), commit, tmp_path / "with", distribution="toy-zoo", settings=Settings(wheelhouses=(house,))
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"


def with_requires(repository: Path, git: Git, requires: str) -> str:
    """Let the project be built with installed distributions, and return the commit."""
    project = repository / "packages" / "zoo"
    text = (project / "pyproject.toml").read_text()
    text = text.replace("requires = []", f"requires = {requires}").replace('\nbackend-path = ["."]', "")
    (project / "pyproject.toml").write_text(text)
    (project / "backend.py").unlink()
    git("commit", "--quiet", "--all", "-m", "backends of its own")
    return git("rev-parse", "HEAD")


def test_what_a_build_requires_is_not_taken_from_an_index_that_is_listed_for_something_else_it_requires(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["toy-backend>=1", "other-tool"]')
    mark = tmp_path / "ran"
    evil = f"open({str(mark)!r}, 'w').close()\n{BACKEND}"
    house = make_wheel("toy-backend", "1.0", {"backend.py": BACKEND}, requires=("inner-tool",)).parent
    stranger = make_wheel("toy-backend", "99.0", {"backend.py": evil})
    index = serve([make_wheel("other-tool", "1.0", {"other_tool.py": ""}), stranger])
    inner = serve([make_wheel("inner-tool", "1.0", {"inner_tool.py": ""})])
    settings = Settings(
        fetch=True,
        wheelhouses=(house,),
        indexes=(Index(url=index.url, packages=("other-tool",)), Index(url=inner.url, packages=("inner-tool",))),
    )
    built = build_wheel(
        str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"
    assert not mark.exists()
    with pytest.raises(ProvenanceError):  # nobody is listed for what the backend itself requires
        build_wheel(
            str(repository),
            commit,
            tmp_path / "c",
            distribution="toy-zoo",
            offline=False,
            settings=Settings(fetch=True, wheelhouses=(house,), indexes=settings.indexes[:1]),
        )
    assert not mark.exists()


@pytest.mark.parametrize("version", ["0.1", "99.0"])
def test_a_stranger_on_an_index_that_comes_first_neither_gives_nor_hides_what_a_build_requires(
    version: str, repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["other-tool", "toy-backend>=1"]')
    mark = tmp_path / "ran"
    stranger = make_wheel("toy-backend", version, {"backend.py": f"open({str(mark)!r}, 'w').close()\n{BACKEND}"})
    first = serve([make_wheel("other-tool", "1.0", {"other_tool.py": ""}), stranger])
    second = serve([make_wheel("toy-backend", "1.0", {"backend.py": BACKEND})])
    settings = Settings(
        fetch=True,
        indexes=(Index(url=first.url, packages=("other-tool",)), Index(url=second.url, packages=("toy-backend",))),
    )
    built = build_wheel(
        str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"
    assert not mark.exists()


def test_a_stranger_of_the_very_version_on_an_index_that_comes_first_is_refused_by_its_digest(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["other-tool", "toy-backend>=1"]')
    mark = tmp_path / "ran"
    stranger = make_wheel("toy-backend", "1.0", {"backend.py": f"open({str(mark)!r}, 'w').close()\n{BACKEND}"})
    first = serve([make_wheel("other-tool", "1.0", {"other_tool.py": ""}), stranger])
    second = serve([make_wheel("toy-backend", "1.0", {"backend.py": BACKEND})])
    settings = Settings(
        fetch=True,
        indexes=(Index(url=first.url, packages=("other-tool",)), Index(url=second.url, packages=("toy-backend",))),
    )
    with pytest.raises(ProvenanceError):
        build_wheel(str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings)
    assert not mark.exists()


def test_a_strangers_source_is_not_built_to_learn_what_it_requires(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    commit = with_requires(repository, git, '["other-tool", "toy-backend>=1"]')
    mark = tmp_path / "ran"
    source = tmp_path / "toy_backend-99.0"
    source.mkdir()
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: toy-backend\nVersion: 99.0\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = ["."]\n'
    )
    (source / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    folder = make_wheel("other-tool", "1.0", {"other_tool.py": ""}).parent
    with tarfile.open(folder / "toy_backend-99.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    house = make_wheel("toy-backend", "1.0", {"backend.py": BACKEND}).parent
    settings = Settings(fetch=True, wheelhouses=(house,), indexes=(Index(url=str(folder), packages=("other-tool",)),))
    built = build_wheel(
        str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"
    assert not mark.exists()


def test_an_older_backend_is_taken_where_what_the_newest_requires_cannot_be_had(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["toy-backend>=1"]')
    newest = make_wheel("toy-backend", "2.0", {"backend.py": "raise SystemExit"}, requires=("absent-tool",))
    index = serve([make_wheel("toy-backend", "1.0", {"backend.py": BACKEND}), newest])
    settings = Settings(fetch=True, indexes=(Index(url=index.url, packages=("*",)),))
    built = build_wheel(
        str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"


ASKING = f"""{BACKEND}
def get_requires_for_build_wheel(config_settings=None):
    return [ASKED]
"""


def test_what_old_setuptools_ask_for_while_they_run_is_pinned_too(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["setuptools<70"]')
    asking = ASKING.replace("ASKED", "'wheel'")
    index = serve(
        [
            make_wheel("setuptools", "69.0", {"backend.py": asking}),
            make_wheel("wheel", "0.45.0", {"wheel.py": ""}),
            make_wheel("wheel", "0.48.0", {"wheel.py": ""}, requires=("absent-tool",)),
        ]
    )
    settings = Settings(fetch=True, indexes=(Index(url=index.url, packages=("*",)),))
    built = build_wheel(
        str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings
    )
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"


def test_what_only_a_backend_asks_for_is_named_in_the_advice_which_then_helps(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, serve: ServeWheels
) -> None:
    commit = with_requires(repository, git, '["toy-backend"]')
    backend = make_wheel("toy-backend", "1.0", {"backend.py": ASKING.replace("ASKED", "'late-tool'")})
    late = make_wheel("late-tool", "1.0", {"late_tool.py": ""})
    index = serve([backend, late])
    settings = Settings(fetch=True, indexes=(Index(url=index.url, packages=("*",)),))
    with pytest.raises(ProvenanceError) as caught:
        build_wheel(str(repository), commit, tmp_path / "b", distribution="toy-zoo", offline=False, settings=settings)
    assert "toy-backend late-tool " in caught.value.next_command
    houses = Settings(wheelhouses=(backend.parent, late.parent))
    built = build_wheel(str(repository), commit, tmp_path / "c", distribution="toy-zoo", settings=houses)
    assert built.path.name == "toy_zoo-1.0-py3-none-any.whl"


@pytest.mark.parametrize("offline", [True, False])
def test_a_build_requirement_by_url_is_refused_before_anything_of_it_runs(
    repository: Path, git: Git, tmp_path: Path, make_wheel: MakeWheel, offline: bool
) -> None:
    mark = tmp_path / "ran"
    evil = make_wheel("toy-backend", "1.0", {"backend.py": f"open({str(mark)!r}, 'w').close()\n{BACKEND}"})
    difference = (
        "diff --git a/packages/zoo/pyproject.toml b/packages/zoo/pyproject.toml\n"
        "--- a/packages/zoo/pyproject.toml\n+++ b/packages/zoo/pyproject.toml\n"
        "@@ -6,3 +6,2 @@\n-requires = []\n"
        f'+requires = ["toy-backend @ {evil.as_uri()}"]\n build-backend = "backend"\n-backend-path = ["."]\n'
    )
    with pytest.raises(ProvenanceError) as caught:
        build_wheel(
            str(repository),
            git("rev-parse", "HEAD"),
            tmp_path / "build",
            distribution="toy-zoo",
            diff=difference.encode(),
            offline=offline,
            settings=Settings(fetch=not offline),
        )
    assert not mark.exists()
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("setup.cfg", "[metadata]\nname = old-zoo\n"),
        ("setup.py", "from setuptools import setup\nsetup(name='old-zoo')\n"),
        ("pyproject.toml", "[tool.poetry]\nname = 'Old_Zoo'\n"),
    ],
)
def test_a_project_of_any_age_is_found_by_its_name_and_the_shallowest_wins(
    file: str, text: str, tmp_path: Path
) -> None:
    from app_loader.provenance.project import find_project

    for place in ("a/b/tests/copy", "a/zoo", "other"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / file).write_text(text.replace("old", "other").replace("Old", "other") if place == "other" else text)
    assert find_project(tmp_path, "old.zoo") == tmp_path / "a" / "zoo"
    assert find_project(tmp_path, "absent") is None


def test_a_commit_that_is_not_there_says_what_may_have_happened(repository: Path, tmp_path: Path) -> None:
    for place in (str(repository), repository.as_uri()):
        with pytest.raises(ProvenanceError) as caught:
            build_wheel(place, "0" * 40, tmp_path / str(len(place)), distribution="toy-zoo")
        assert "forced push" in " ".join(caught.value.problems)


def test_a_replaced_commit_is_built_as_it_was_recorded(
    repository: Path, git: Git, package: Path, tmp_path: Path
) -> None:
    first = git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("answer = 'another'\n")
    git("commit", "--quiet", "--all", "-m", "second")
    git("replace", first, "HEAD")  # git shows the second wherever the first is asked for
    built = build_wheel(str(repository), first, tmp_path / "build", distribution="toy-zoo", package="toy_zoo")
    assert built.source is not None
    assert (built.source / "__init__.py").read_text() == "answer = 1\n"
