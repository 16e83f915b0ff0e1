"""Tiny wheels, packed by hand from a dict of files, and a store to put them in."""

from __future__ import annotations

import base64
import gc
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from app_loader.isolated import known_units, unload
from app_loader.store import Entry, Store

MakeWheel = Callable[..., Path]
AddVersions = Callable[..., dict[str, Entry]]


@pytest.fixture(scope="session")
def make_wheel(tmp_path_factory: pytest.TempPathFactory) -> MakeWheel:
    """Return a packer: name, version, files by path below the folder of modules, further metadata."""

    def pack(
        name: str,
        version: str,
        files: Mapping[str, str | bytes],
        *,
        requires: tuple[str, ...] = (),
        entry_points: str = "",
        unpinned: Mapping[str, str | bytes] | None = None,
        false_digest: str = "",
    ) -> Path:
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
        content = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        content[f"{info}/METADATA"] = metadata.encode()
        content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        if entry_points:
            content[f"{info}/entry_points.txt"] = entry_points.encode()
        rows = []
        for path, data in content.items():
            pinned = b"something else" if path == false_digest else data
            digest = base64.urlsafe_b64encode(hashlib.sha256(pinned).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(data)}")
        content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
        for path, extra in (unpinned or {}).items():
            content[path] = extra.encode() if isinstance(extra, str) else extra
        wheel = tmp_path_factory.mktemp("wheel") / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in content.items():
                archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), data)
        return wheel

    return pack


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of this test's own; what it isolated is unloaded afterwards."""
    monkeypatch.setenv("MPT_STORES", "")
    monkeypatch.setenv("MPT_SEARCHED", "")
    before = {unit.identifier for unit in known_units()}
    gc.freeze()  # unloading collects garbage; what is older than the test need not be looked through each time
    yield Store(tmp_path / "store")
    for unit in known_units():
        if unit.identifier not in before:
            unload(unit)
    gc.unfreeze()


@pytest.fixture
def versions(make_wheel: MakeWheel, store: Store) -> AddVersions:
    """Return an adder: it stores versions 1.0, 2.0 and 3.0 of a package whose text has ``{n}`` where they differ."""

    def add(files: Mapping[str, str], name: str = "toy-zoo", **options: object) -> dict[str, Entry]:
        found = {}
        for number in ("1", "2", "3"):
            content = {path: text.replace("{n}", number) for path, text in files.items()}
            found[number] = store.add([make_wheel(name, f"{number}.0", content, **options)])
        return found

    return add
