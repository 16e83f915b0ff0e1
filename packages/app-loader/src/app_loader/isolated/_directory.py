"""Isolating a folder of unpacked modules, such as `pip install --target` makes, without a store.

The folder is read as it is and never written to; the digest is over its files, so a changed folder is another unit.
What code wrote beside its modules after they were installed (libraries that it builds when it is first used, caches) is
no part of it: no RECORD lists that.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from app_loader.isolated._announced import IsolatedFolder, announce_folder
from app_loader.isolated._owned import NATIVE_SUFFIXES, OwnedNames, owned_names
from app_loader.isolated._unit import Part, Unit
from app_loader.isolated._units import register_unit

_IGNORED = ("__pycache__",)


def isolate_directory(path: str | os.PathLike[str], name: str | None = None, *, bytecode: Path | None = None) -> Unit:
    """Return the unit that a folder of modules is; importing nothing.

    Args:
        path: a folder that holds modules, packages and their dist-info folders.
        name: the distribution whose version names the unit; the one that brings the most files when not given.
        bytecode: where to keep compiled modules; when not given, in a folder of the user's own below the temporary
            one, or nowhere if that cannot be had. What lies there is run: let nobody else write to it.

    Child processes of multiprocessing find the folder too, as long as its files are the same.
    """
    unit = _describe(Path(path).resolve(), name, bytecode)
    announce_folder(IsolatedFolder(unit.identifier, str(unit.folder), name, str(unit.bytecode or "")))
    return register_unit(unit)


def find_isolated_folder(announced: IsolatedFolder) -> Unit | None:
    """Return the unit of a folder that another process isolated, None where its files are no longer the same."""
    folder = Path(announced.path)
    if not folder.is_dir():
        return None
    unit = _describe(folder, announced.name, Path(announced.bytecode) if announced.bytecode else None)
    return register_unit(unit) if unit.identifier == announced.identifier else None


def _describe(folder: Path, name: str | None, bytecode: Path | None) -> Unit:
    files = sorted(_listing(folder))
    parts, listed = _parts(folder, files)
    files = [file for file in files if file in listed or not _is_made_since(file, listed)]
    main = next((part for part in parts if _normal(part.distribution) == _normal(name)), None) if name else None
    ordered = (main, *(part for part in parts if part is not main)) if main else parts
    digest = _digest(folder, files)
    own = _own_temporary_folder() if bytecode is None else None
    if own is not None:
        bytecode = own / digest[:16]
    native = tuple(file for file in files if file.endswith(NATIVE_SUFFIXES) or ".so." in file)
    return Unit(parts=tuple(ordered), digest=digest, folder=folder, bytecode=bytecode, native=native)


def _own_temporary_folder() -> Path | None:
    """Return a folder below the temporary one that nobody else writes to, None where its name is taken.

    What lies in it is run. Everybody can make a folder of that name, and fill it, before we do.
    """
    if not hasattr(os, "getuid"):  # Windows: the temporary folder is the user's own
        return Path(tempfile.gettempdir()) / "mpt-bytecode"
    folder = Path(tempfile.gettempdir()) / f"mpt-bytecode-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return None
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):  # ours, and others could fill it: begin anew
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
    except OSError:
        return None
    return folder


def _listing(folder: Path) -> list[str]:
    found = []
    for root, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in _IGNORED]
        found += [os.path.relpath(os.path.join(root, file), folder).replace(os.sep, "/") for file in files]  # noqa: PTH118
    return found


def _digest(folder: Path, files: list[str]) -> str:
    digest = hashlib.sha256(str(folder).encode())
    for file in files:
        digest.update(file.encode() + b"\0")
        path = folder / file
        if file.endswith(".py"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            digest.update(path.stat().st_size.to_bytes(8, "little"))
    return digest.hexdigest()


def _is_made_since(file: str, listed: set[str]) -> bool:
    """Whether a file that no RECORD lists, and that is no source, lies in a package that a RECORD does list."""
    if file.endswith(".py"):
        return False
    return any(f"{folder}/__init__.py" in listed for folder in PurePosixPath(file).parents)


def _parts(folder: Path, files: list[str]) -> tuple[list[Part], set[str]]:
    """Return one part per dist-info folder, and every file that a RECORD lists.

    First comes what none of the others asks for, then the largest. Names that no RECORD lists go to the first.
    """
    everything = owned_names(files)
    found: list[tuple[int, Part]] = []
    every: set[str] = set()
    wanted: set[str] = set()
    for info in sorted(folder.glob("*.dist-info")):
        headers = (
            HeaderParser().parsestr((info / "METADATA").read_text("utf-8"))
            if (info / "METADATA").exists()
            else Message()
        )
        record = (info / "RECORD").read_text("utf-8").splitlines() if (info / "RECORD").exists() else []
        listed = [line.rsplit(",", 2)[0].strip('"') for line in record if line.strip()]
        every.update(listed)
        stem = info.name.removesuffix(".dist-info")
        part = Part(
            distribution=str(headers.get("Name") or stem.rpartition("-")[0]),
            version=str(headers.get("Version") or stem.rpartition("-")[2]),
            owned=owned_names(file for file in listed if not file.startswith("..")),
            info=info,
        )
        found.append((-len(listed), part))
        requires = headers.get_all("Requires-Dist") or []
        wanted |= {_normal(re.split(r"[\s;<>=!~\[(]", line.strip(), maxsplit=1)[0]) for line in requires}
    found.sort(key=lambda item: (_normal(item[1].distribution) in wanted, item[0]))
    parts = [part for _, part in found]
    known: frozenset[str] = frozenset().union(*(part.owned.whole for part in parts))
    rest = OwnedNames(whole=everything.whole - known, partly=everything.partly)
    if not parts:
        return [Part(distribution=folder.name, version="0", owned=everything)], every
    first = parts[0]
    merged = Part(distribution=first.distribution, version=first.version, owned=first.owned | rest, info=first.info)
    return [merged, *parts[1:]], every


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
