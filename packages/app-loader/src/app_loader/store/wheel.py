"""Reading a wheel and judging it before a byte of it is unpacked.

A wheel is refused when it holds what no build of pure modules writes: paths that leave the folder, links, path files,
files that RECORD does not pin, two files for one place, or far more data than its size.
Source: the "Binary distribution format" and "Recording installed projects" pages of the PyPA specifications.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import lzma
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from app_loader.errors import UnsafeWheelError

MAX_FILES = 50_000
MAX_SIZE_BYTES = 4 * 1024**3
MAX_RATIO = 500
"""Unpacked bytes per packed byte. Source of the order of magnitude: deflate cannot exceed 1032."""
_SMALL_BYTES = 1024**2
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Source: the "Names and normalization" page of the PyPA specifications."""
_UNPINNED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_MAX_COMPONENT_BYTES = 255
"""Of a file's name, on every common file system."""
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, csv.Error),
    *(NotImplementedError, EOFError, OSError, UnicodeDecodeError, IndexError, RuntimeError),
)
"""What reading a damaged zip or a damaged RECORD raises, by the modules that read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """What a wheel says about itself.

    Attributes:
        path: the wheel file.
        name: the distribution's name.
        version: its version text.
        sha256: digest (hex) of the wheel file.
        requires: its requirements, as its metadata states them.
        info: its dist-info folder inside the wheel.
        members: where each file goes: posix path below the folder of modules, by its name in the zip.
        hashes: sha256 (hex) of each file by its posix path below the folder of modules, as RECORD pins it.
        requires_python: the range of interpreters it asks for, empty for any.
    """

    path: Path
    name: str
    version: str
    sha256: str
    requires: tuple[str, ...]
    info: str
    members: dict[str, str]
    hashes: dict[str, str]
    requires_python: str = ""


def file_sha256(file: BinaryIO) -> str:
    """Return the sha256 (hex) of an open file, from where it stands."""
    return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


def wheel_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a wheel file, which is not looked into.

    Raises:
        UnsafeWheelError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise UnsafeWheelError(str(path), ["it is no regular file"], "uv build --wheel")
        with path.open("rb") as file:
            return file_sha256(file)
    except FileNotFoundError:
        raise UnsafeWheelError(str(path), ["there is no such file"], "ls " + str(path.parent)) from None
    except OSError as error:
        raise UnsafeWheelError(str(path), [f"it cannot be read as a wheel: {error}"], "uv build --wheel") from error


def read_wheel(path: Path, *, named: Path | None = None) -> Wheel:
    """Return what a wheel says about itself, having checked its structure.

    Args:
        path: the file.
        named: what an error calls it; `path` when not given.

    Raises:
        UnsafeWheelError: it is no wheel, or holds what no wheel of pure modules holds; every problem is listed.
    """
    subject = str(named or path)
    sha256 = wheel_sha256(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive, sha256, subject)
    except UNREADABLE as error:
        raise UnsafeWheelError(subject, [f"it cannot be read as a wheel: {error}"], "uv build --wheel") from error


def _read(path: Path, archive: zipfile.ZipFile, sha256: str, subject: str) -> Wheel:
    entries = archive.infolist()
    problems = _structure_problems(entries)
    infos = {name.partition("/")[0] for name in archive.namelist() if name.partition("/")[0].endswith(".dist-info")}
    if len(infos) != 1:
        problems.append(f"it has {len(infos)} dist-info folders, a wheel has one")
    if problems:
        raise UnsafeWheelError(subject, problems, "uv build --wheel")
    info = infos.pop()
    names = set(archive.namelist())
    for needed in ("METADATA", "RECORD", "WHEEL"):
        if f"{info}/{needed}" not in names:
            problems.append(f"{info}/{needed} is missing")
    if problems:
        raise UnsafeWheelError(subject, problems, "uv build --wheel")
    headers = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8"))
    pinned, problems = _record(archive.read(f"{info}/RECORD").decode("utf-8"), info)
    files = [entry.filename for entry in entries if not entry.is_dir()]
    problems += [
        f"{name} is not pinned by RECORD" for name in files if name not in pinned and not _unpinned(name, info)
    ]
    problems += [f"RECORD lists {name}, which is missing" for name in pinned if name not in names]
    if any(len(headers.get_all(key) or ()) != 1 for key in ("Name", "Version")):
        problems.append(f"{info}/METADATA names no distribution or no version, or several")
    else:
        problems += _identity_problems(str(headers["Name"]), str(headers["Version"]), info, path.name)
    members = {name: target for name in files if (target := _target(name, info)) is not None}
    problems += _place_problems(members.values())
    if f"{info}/entry_points.txt" in names:
        problems += _entry_point_problems(archive.read(f"{info}/entry_points.txt"), info)
    if problems:
        raise UnsafeWheelError(subject, problems, "uv build --wheel")
    return Wheel(
        path=path,
        name=str(headers["Name"]),
        version=str(headers["Version"]),
        sha256=sha256,
        requires=tuple(str(line) for line in headers.get_all("Requires-Dist") or ()),
        info=info,
        members=members,
        hashes={target: pinned[name] for name, target in members.items() if name in pinned},
        requires_python=str(headers.get("Requires-Python") or ""),
    )


def _identity_problems(name: str, version: str, info: str, file: str) -> list[str]:
    """Return where a wheel's metadata, its dist-info folder and its file name do not name one and the same thing.

    A wheel is chosen by its file's name and known by its metadata's: the two must not be different projects.
    """
    if not _NAME.fullmatch(name):  # letters of other alphabets look like these and are others
        return [f"METADATA names the distribution {name!a}; a name has ASCII letters, digits, '.', '-' and '_'"]
    try:
        said = (canonicalize_name(name), Version(version))
    except InvalidVersion:
        return [f"METADATA has the version {version!r}, which is none"]
    problems = []
    folder, _, folder_version = info.removesuffix(".dist-info").rpartition("-")
    if not _same(folder, folder_version, said):
        problems.append(f"METADATA names {name} {version}, its folder is {info}")
    try:
        file_name, file_version, *_ = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return problems  # it was not chosen by its name
    if (file_name, file_version) != said:
        problems.append(f"METADATA names {name} {version}, the file is {file}")
    return problems


def _same(name: str, version: str, said: tuple[str, Version]) -> bool:
    try:
        return (canonicalize_name(name), Version(version.replace("_", "-"))) == said
    except InvalidVersion:
        return False


def _structure_problems(entries: list[zipfile.ZipInfo]) -> list[str]:
    problems = []
    seen: set[str] = set()
    if len(entries) > MAX_FILES:
        problems.append(f"it holds {len(entries)} files, at most {MAX_FILES} are read")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_SIZE_BYTES:
        problems.append(f"it unpacks to {total} bytes, at most {MAX_SIZE_BYTES} are unpacked")
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ".." in parts or "\0" in name or ":" in name:
            problems.append(f"{name!r} leaves the folder it is unpacked into")
        elif not _is_plain(name):
            # As in x.data/purelib//etc/passwd, of which /etc/passwd is left when its scheme is taken away.
            problems.append(f"{name!r} is no plain path of names that can be printed, joined by single slashes")
        if stat.S_ISLNK(entry.external_attr >> 16):
            problems.append(f"{name} is a symbolic link")
        if name.endswith(".pth") and len(parts) < 3:
            problems.append(f"{name} is a path file, which would run in every interpreter that sees it")
        folded = name.casefold().rstrip("/")
        if folded in seen and not entry.is_dir():
            problems.append(f"{name} stands in it twice")
        seen.add(folded)
        if entry.file_size > _SMALL_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            problems.append(f"{name} unpacks to {entry.file_size} bytes from {entry.compress_size}")
        if entry.flag_bits & 0x1:
            problems.append(f"{name} is encrypted")
    return problems


def _is_plain(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return name.isprintable() and all(
        part not in ("", ".") and len(part.encode(errors="replace")) <= _MAX_COMPONENT_BYTES for part in parts
    )


def _place_problems(targets: Iterable[str]) -> list[str]:
    """Return where two members of one wheel go to one place, on any file system, or one below another."""
    problems: list[str] = []
    files: set[str] = set()
    folders: set[str] = set()
    for target in targets:
        place = unicodedata.normalize("NFC", target.casefold())
        above = {str(folder) for folder in PurePosixPath(place).parents}
        if place in files or place in folders or not above.isdisjoint(files):
            problems.append(f"two of its files go to {target}, or one goes below the other")
        files.add(place)
        folders |= above
    return problems


def _entry_point_problems(data: bytes, info: str) -> list[str]:
    """Return why the entry points cannot be read; whatever lists the store reads those of every entry."""
    try:
        configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False).read_string(data.decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        return [f"{info}/entry_points.txt cannot be read: {str(error).splitlines()[0]}"]
    return []


def _record(text: str, info: str) -> tuple[dict[str, str], list[str]]:
    """Return sha256 (hex) by file name, and what is wrong with RECORD."""
    pinned: dict[str, str] = {}
    problems: list[str] = []
    for row in csv.reader(text.splitlines()):
        if not row or _unpinned(row[0], info):
            continue
        algorithm, _, digest = (row[1] if len(row) > 1 else "").partition("=")
        if algorithm not in ("sha256", "sha384", "sha512"):
            problems.append(f"RECORD pins {row[0]} with {algorithm or 'nothing'}, sha256 or better is needed")
            continue
        try:
            raw = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
        except ValueError:
            problems.append(f"RECORD has no readable digest for {row[0]}")
            continue
        pinned[row[0]] = raw if algorithm == "sha256" else f"{algorithm}:{raw}"
    return pinned, problems


def _unpinned(name: str, info: str) -> bool:
    return name in {f"{info}/{each}" for each in _UNPINNED}


def _target(name: str, info: str) -> str | None:
    """Return where a member goes below the folder of modules, None for scripts, headers and data of the environment."""
    first, _, rest = name.partition("/")
    if first.endswith(".data") and first != info:
        scheme, _, inner = rest.partition("/")
        return inner if scheme in ("purelib", "platlib") and inner else None
    return name
