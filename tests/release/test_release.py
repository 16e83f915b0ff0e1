from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from tools.release.build import build_wheel
from tools.release.errors import BumpError, RebuildError, RehearsalError, ReleaseError, TreeError, UnknownPackageError
from tools.release.git import git
from tools.release.packages import Package, get_package, parse_version
from tools.release.rebuild import rebuild
from tools.release.release import Release, check_bump, release, upload_command
from tools.release.wheelhouse import read_wheelhouse


def make(checkout: Path, version: str, *, dry_run: bool = False) -> Release:
    """Release without the rehearsal, which takes seconds and is put to the test on its own."""
    package = get_package("mpt-format", checkout)
    return release(package, Version(version), dry_run=dry_run, say=lambda _: None, rehearsal=lambda *_, **__: None)


def change(checkout: Path, old: str, new: str, fragment: str | None = "double.change.md") -> None:
    path = checkout / "packages/mpt-format/src/mpt_format/__init__.py"
    path.write_text(path.read_text().replace(old, new))
    if fragment:
        (checkout / "packages/mpt-format/changes").mkdir(exist_ok=True)
        (checkout / "packages/mpt-format/changes" / fragment).write_text("Changed.\n")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "Change")


def snapshot(checkout: Path) -> tuple[str, str, str]:
    return git(checkout, "rev-parse", "HEAD"), git(checkout, "tag"), git(checkout, "status", "--porcelain")


def test_release_is_tagged_indexed_and_written_into_the_changelog(first_release: Path) -> None:
    (wheel,) = read_wheelhouse(first_release / "wheelhouse")
    assert (wheel.version, wheel.sha256) == (Version("1.0.0"), hashlib.sha256(wheel.path.read_bytes()).hexdigest())
    assert (first_release / "wheelhouse/simple/mpt-format/index.json").exists()
    assert git(first_release, "log", "--format=%s") == (
        "Add mpt-format 1.0.0 to the wheelhouse\nRelease mpt-format 1.0.0\nBegin"
    )
    assert git(first_release, "rev-parse", "mpt-format-v1.0.0^{commit}") == git(first_release, "rev-parse", "HEAD~1")
    assert git(first_release, "status", "--porcelain") == ""
    changelog = (first_release / "packages/mpt-format/CHANGELOG.md").read_text()
    assert "## 1.0.0 (" in changelog and "- Numbers are doubled." in changelog
    assert not list((first_release / "packages/mpt-format/changes").glob("*.md"))
    assert git(first_release, "worktree", "list").count("\n") == 0


def test_a_released_wheel_is_built_again_from_its_tag(first_release: Path) -> None:
    wheel = rebuild(first_release, "mpt-format-v1.0.0", first_release / "wheelhouse")
    assert (wheel.name, wheel.version) == ("mpt-format", Version("1.0.0"))


def test_a_wheel_that_its_tag_does_not_build_is_refused(released: Path) -> None:
    (kept,) = (released / "wheelhouse").glob("*.whl")
    with zipfile.ZipFile(kept, "a") as archive:
        archive.writestr("stranger.py", "")
    with pytest.raises(RebuildError) as caught:
        rebuild(released, "mpt-format-v1.0.0", released / "wheelhouse")
    assert (caught.value.tag, caught.value.wheel) == ("mpt-format-v1.0.0", kept)


def test_a_clone_without_tags_goes_by_the_commit_in_the_readme(released: Path) -> None:
    commit = git(released, "rev-parse", "mpt-format-v1.0.0^{commit}")
    git(released, "tag", "--delete", "mpt-format-v1.0.0")
    with pytest.raises(ReleaseError):
        rebuild(released, "mpt-format-v1.0.0", released / "wheelhouse")
    (released / "wheelhouse/README.md").write_text(f"| `a.whl` | `mpt-format-v1.0.0` | `{commit}` | |\n")
    assert rebuild(released, "mpt-format-v1.0.0", released / "wheelhouse").name == "mpt-format"


@pytest.mark.parametrize("tag", ["mpt-format-v9.9.9", "mpt-format", "other-v1.0.0"])
def test_what_was_not_released_is_not_built_again(first_release: Path, tag: str) -> None:
    with pytest.raises(ReleaseError):
        rebuild(first_release, tag, first_release / "wheelhouse")


def test_dry_run_passes_every_step_and_leaves_nothing(checkout: Path) -> None:
    before = snapshot(checkout)
    made = make(checkout, "1.0.0", dry_run=True)
    assert made.wheel.version == Version("1.0.0")
    assert snapshot(checkout) == before
    assert not (checkout / "wheelhouse").exists()


def test_uncommitted_work_elsewhere_does_not_enter_the_release(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("not for the wheel")
    made = make(checkout, "1.0.0")
    with zipfile.ZipFile(checkout / "wheelhouse" / made.wheel.path.name) as wheel:
        assert not [name for name in wheel.namelist() if "notes" in name]
    assert (checkout / "notes.txt").exists()


def test_everything_that_is_wrong_with_the_tree_is_told_at_once(released: Path) -> None:
    (released / "packages/mpt-format/src/mpt_format/more.py").write_text("")
    with pytest.raises(TreeError) as caught:
        make(released, "1.0.0")
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for word in ("uncommitted", "mpt-format-v1.0.0", "does not follow 1.0.0", "fragment"):
        assert word in told


def test_breaking_change_needs_a_major_version(released: Path) -> None:
    change(released, "number: int", "value: int")
    before = snapshot(released)
    with pytest.raises(BumpError) as caught:
        make(released, "1.1.0")
    assert (caught.value.released, caught.value.minimum) == ("1.0.0", "2.0.0")
    assert any("mpt_format.double" in line for line in caught.value.breakages)
    assert snapshot(released) == before


def test_added_function_needs_a_minor_version(released: Path) -> None:
    change(released, '__all__ = ["double"]', '__all__ = ["double", "half"]\n\n\ndef half() -> int:\n    return 1\n')
    with pytest.raises(BumpError) as caught:
        make(released, "1.0.1")
    assert caught.value.minimum == "1.1.0"
    assert [line.split()[-2:] for line in caught.value.breakages] == [["mpt_format.half:", "added"]]
    make(released, "1.1.0")
    assert [str(wheel.version) for wheel in read_wheelhouse(released / "wheelhouse")] == ["1.0.0", "1.1.0"]


def test_change_of_a_body_is_a_patch(released: Path) -> None:
    change(released, "2 * number", "number + number", "body.fix.md")
    make(released, "1.0.1")
    assert git(released, "tag", "--list").split() == ["mpt-format-v1.0.0", "mpt-format-v1.0.1"]


def test_prerelease_of_the_right_version_is_enough(released: Path) -> None:
    change(released, "number: int", "value: int")
    make(released, "2.0.0rc1")


def test_wheel_that_fails_its_tests_is_not_released(checkout: Path) -> None:
    change(checkout, "2 * number", "3 * number", None)
    before = snapshot(checkout)
    with pytest.raises(RehearsalError) as caught:
        release(get_package("mpt-format", checkout), Version("1.0.0"), dry_run=False, say=lambda _: None)
    assert "test_number_is_doubled" in str(caught.value)
    assert snapshot(checkout) == before


def test_upload_is_told_and_goes_to_a_named_index(released: Path) -> None:
    (wheel,) = read_wheelhouse(released / "wheelhouse")
    command = upload_command(wheel, "team")
    assert command == "uv publish --index team wheelhouse/mpt_format-1.0.0-py3-none-any.whl"


def test_unknown_package_and_odd_versions_are_refused(checkout: Path) -> None:
    with pytest.raises(UnknownPackageError) as caught:
        get_package("mpt-fromat", checkout)
    assert caught.value.known == ("mpt-format",)
    for text in ("v1.0.0", "01.0.0", "1.0.0-rc1", "newest"):
        with pytest.raises(ReleaseError):
            parse_version(text)
    assert parse_version("1.0.0rc1") == Version("1.0.0rc1")


def test_version_is_written_into_its_line_alone(checkout: Path) -> None:
    package = Package(name="mpt-format", root=checkout)
    path = package.folder / "pyproject.toml"
    before = path.read_text()
    package.write_version(Version("3.2.1"))
    assert package.version == Version("3.2.1")
    assert path.read_text() == before.replace('version = "1.0.0"', 'version = "3.2.1"')
    path.write_text(before + '\n[tool.other]\nversion = "1.0.0"\n')
    with pytest.raises(ReleaseError):
        package.write_version(Version("3.2.1"))


def test_tree_may_add_under_the_released_version_but_not_break(released: Path, tmp_path: Path) -> None:
    package = get_package("mpt-format", released)

    def judge(name: str) -> object:
        (tmp_path / name).mkdir()
        wheel = build_wheel(package.folder, tmp_path / name, epoch=1_700_000_000)
        return check_bump(package, package.version, wheel, lambda _: None)

    assert judge("same") == []
    change(released, '__all__ = ["double"]', '__all__ = ["double", "half"]\n\n\ndef half() -> int:\n    return 1\n')
    assert [str(c).split()[0] for c in judge("added")] == ["minor"]  # type: ignore[attr-defined]
    change(released, "number: int", "value: int")
    with pytest.raises(BumpError) as caught:
        judge("broken")
    assert caught.value.minimum == "2.0.0"
