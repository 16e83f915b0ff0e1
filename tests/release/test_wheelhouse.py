from __future__ import annotations

import html.parser
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from packaging.version import Version

from tools.release.errors import ReleaseError
from tools.release.packages import ROOT
from tools.release.uv import find_uv
from tools.release.wheelhouse import add_wheel, find_last_release, list_release, read_wheelhouse, write_index


class Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


@pytest.fixture
def wheelhouse(first_release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first_release / "wheelhouse", tmp_path / "wheelhouse"))


def test_html_and_json_name_the_same_files_with_the_same_digests(wheelhouse: Path) -> None:
    simple = wheelhouse / "simple/mpt-format"
    parser = Links()
    parser.feed((simple / "index.html").read_text())
    (link,) = parser.found
    document = json.loads((simple / "index.json").read_text())
    (file,) = document["files"]
    (wheel,) = read_wheelhouse(wheelhouse)
    assert link["href"] == f"{file['url']}#sha256={file['hashes']['sha256']}"
    assert link["data-requires-python"] == file["requires-python"] == ">=3.11"
    assert file["hashes"]["sha256"] == wheel.sha256
    target = urljoin((simple / "index.html").as_uri(), file["url"])
    assert Path(urlsplit(target).path) == wheel.path
    assert document["meta"]["api-version"] == "1.0"


def test_uv_installs_from_the_index_and_checks_the_digest(wheelhouse: Path, tmp_path: Path) -> None:
    index = (wheelhouse / "simple").as_uri()
    command = [find_uv(), "pip", "install", "--quiet", "--no-deps", "--no-cache", "--index", index, "mpt-format==1.0.0"]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    for target, code in (("good", 0), ("bad", 1)):
        done = subprocess.run(
            [*command, "--python", sys.executable, "--target", str(tmp_path / target)],
            env=environment,
            capture_output=True,
        )
        assert (done.returncode != 0) == bool(code), done.stderr
        assert (tmp_path / target / "mpt_format").exists() == (code == 0)
        (wheel,) = wheelhouse.glob("*.whl")
        wheel.write_bytes(wheel.read_bytes() + b"\0")


def test_released_wheel_never_changes(wheelhouse: Path, tmp_path: Path) -> None:
    (wheel,) = wheelhouse.glob("*.whl")
    other = tmp_path / wheel.name
    other.write_bytes(wheel.read_bytes())
    before = (wheelhouse / "simple/mpt-format/index.json").read_bytes()
    add_wheel(wheelhouse, other)
    assert (wheelhouse / "simple/mpt-format/index.json").read_bytes() == before
    shutil.copyfile(wheel, other)
    with other.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ReleaseError, match="other bytes"):
        add_wheel(wheelhouse, other)


def test_last_release_is_the_newest_by_version_and_not_by_text(wheelhouse: Path) -> None:
    (wheel,) = wheelhouse.glob("*.whl")
    for version in ("1.10.0", "1.9.0", "2.0.0rc1"):
        shutil.copy(wheel, wheelhouse / wheel.name.replace("1.0.0", version))
    last = find_last_release(wheelhouse, "mpt_format", up_to=Version("1.999"))
    assert last is not None and last.version == Version("1.10.0")
    assert find_last_release(wheelhouse, "model-zoo") is None


def test_index_of_this_repository_is_the_one_its_wheels_give(tmp_path: Path) -> None:
    copy = tmp_path / "wheelhouse"
    shutil.copytree(ROOT / "wheelhouse", copy)
    write_index(copy)
    for path in sorted((copy / "simple").rglob("index.*")):
        kept = ROOT / "wheelhouse" / path.relative_to(copy)
        assert kept.read_bytes() == path.read_bytes(), f"{kept} is stale; write it anew: just wheelhouse"


def test_release_is_listed_below_the_others_in_the_readme(wheelhouse: Path) -> None:
    (wheel,) = read_wheelhouse(wheelhouse)
    list_release(wheelhouse, wheel, tag="t", commit="c")
    assert not (wheelhouse / "README.md").exists()
    (wheelhouse / "README.md").write_text("# w\n\n| wheel | tag |\n|---|---|\n| `old.whl` | x |\n\nText\n")
    list_release(wheelhouse, wheel, tag="t", commit="c")
    lines = (wheelhouse / "README.md").read_text().splitlines()
    assert lines[5] == f"| `{wheel.path.name}` | `t` | `c` | `{wheel.sha256}` |"
    assert lines[4].startswith("| `old.whl`") and lines[6:] == ["", "Text"]
