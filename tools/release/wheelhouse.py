"""The wheelhouse: released wheels and a static index of them, read by uv, pip and `mpt zoo add` from disk or a server.

`wheelhouse/*.whl` are the wheels; `wheelhouse/simple/` is the index, made anew from the wheels each time, so that it
cannot disagree with them. A released wheel never changes: the same name with other bytes is refused.

Source: PEP 503 (HTML), PEP 691 (JSON, version 1.0) and the "Simple repository API" page of the PyPA specifications.
"""

from __future__ import annotations

import hashlib
import html
import json
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from tools.release.errors import ReleaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedWheel:
    """One wheel of the wheelhouse."""

    path: Path
    name: str
    version: Version
    sha256: str
    size_bytes: int
    requires_python: str | None


def read_wheelhouse(folder: Path) -> list[ReleasedWheel]:
    """Return every wheel of the folder, by name and then by version."""
    found = [_read(path) for path in folder.glob("*.whl")]
    return sorted(found, key=lambda wheel: (wheel.name, wheel.version))


def find_last_release(folder: Path, name: str, up_to: Version | None = None) -> ReleasedWheel | None:
    """Return the newest wheel of that name, no newer than `up_to`, or None."""
    wheels = [wheel for wheel in read_wheelhouse(folder) if wheel.name == canonicalize_name(name)]
    older = [wheel for wheel in wheels if up_to is None or wheel.version <= up_to]
    return older[-1] if older else None


def add_wheel(folder: Path, wheel: Path) -> ReleasedWheel:
    """Copy a wheel into the wheelhouse and write the index anew.

    Raises:
        ReleaseError: the wheelhouse holds other bytes under that name.
    """
    target = folder / wheel.name
    if target.exists() and target.read_bytes() != wheel.read_bytes():
        raise ReleaseError(
            f"{target} is released already with other bytes (sha256 {_read(target).sha256}); "
            "a released wheel never changes: release a new version"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(wheel, target)
    write_index(folder)
    return _read(target)


def list_release(folder: Path, wheel: ReleasedWheel, *, tag: str, commit: str) -> None:
    """Add the wheel's line to the table in the wheelhouse's README.md, where there is one."""
    readme = folder / "README.md"
    if not readme.exists():
        return
    lines = readme.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [number for number, line in enumerate(lines) if line.startswith(("| `", "|---"))]
    if rows:
        lines.insert(rows[-1] + 1, f"| `{wheel.path.name}` | `{tag}` | `{commit}` | `{wheel.sha256}` |\n")
        readme.write_text("".join(lines), encoding="utf-8")


def write_index(folder: Path) -> None:
    """Write `simple/` anew from the wheels of the folder."""
    projects: dict[str, list[ReleasedWheel]] = defaultdict(list)
    for wheel in read_wheelhouse(folder):
        projects[wheel.name].append(wheel)
    simple = folder / "simple"
    shutil.rmtree(simple, ignore_errors=True)
    for path, text in _pages(projects):
        (simple / path).parent.mkdir(parents=True, exist_ok=True)
        (simple / path).write_text(text, encoding="utf-8")


def _read(path: Path) -> ReleasedWheel:
    name, version, _, _ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        member = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
        metadata = HeaderParser().parsestr(archive.read(member).decode())
    content = path.read_bytes()
    return ReleasedWheel(
        path=path,
        name=name,
        version=version,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        requires_python=metadata["Requires-Python"],
    )


def _pages(projects: Mapping[str, list[ReleasedWheel]]) -> Iterator[tuple[str, str]]:
    meta = {"api-version": "1.0"}
    yield "index.html", _page("Simple index", [f'<a href="{name}/">{name}</a>' for name in projects])
    yield "index.json", _json({"meta": meta, "projects": [{"name": name} for name in projects]})
    for name, wheels in projects.items():
        yield f"{name}/index.html", _page(f"Links for {name}", [_link(wheel) for wheel in wheels])
        files = [
            {
                "filename": wheel.path.name,
                "url": f"../../{wheel.path.name}",
                "hashes": {"sha256": wheel.sha256},
                "requires-python": wheel.requires_python,
                "size": wheel.size_bytes,
            }
            for wheel in wheels
        ]
        yield f"{name}/index.json", _json({"meta": meta, "name": name, "files": files})


def _link(wheel: ReleasedWheel) -> str:
    requires = f' data-requires-python="{html.escape(wheel.requires_python)}"' if wheel.requires_python else ""
    name = html.escape(wheel.path.name)
    return f'<a href="../../{name}#sha256={wheel.sha256}"{requires}>{name}</a>'


def _page(title: str, links: list[str]) -> str:
    head = (
        f'<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0"><title>{title}</title></head>'
    )
    return f"{head}\n<body>\n<h1>{title}</h1>\n" + "".join(f"{link}<br>\n" for link in links) + "</body></html>\n"


def _json(document: object) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
