"""What child processes are told: where stores lie, which folders are isolated without one, and where units search.

Each is announced in two ways, so that a child started by spawn or forkserver can unpickle an isolated class: an
environment variable, and a reference inside multiprocessing's own process configuration, which travels with each
`Process` and arrives before its target does. Nothing is read from the disk here.
"""

from __future__ import annotations

import json
import multiprocessing.process
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

STORES_VARIABLE = "MPT_STORES"
"""Stores known to this process and its children: separated as PATH is, or a list in JSON where a path has that sign."""
STORE_VARIABLE = "MPT_STORE"
"""The default store, set by people."""
FOLDERS_VARIABLE = "MPT_FOLDERS"
"""Folders isolated in this process and its children: a list of lists in JSON, each an `IsolatedFolder`."""
SEARCHED_VARIABLE = "MPT_SEARCHED"
"""Folders that units put on their own `sys.path`, with the few names that lie there and are everybody's: by
identifier and folder, in JSON. What a folder brings a child lists itself: a variable may not be longer than 128 KiB."""
Searched = dict[str, dict[str, list[str]]]
_lock = threading.Lock()


class IsolatedFolder(NamedTuple):
    """One folder that is a unit.

    Attributes:
        identifier: the unit's.
        path: the folder.
        name: the distribution that was chosen to name the unit, None where none was.
        bytecode: where its compiled modules are kept, empty for nowhere.
    """

    identifier: str
    path: str
    name: str | None
    bytecode: str


class Reference:
    """Stores and folders that announce themselves wherever they are unpickled."""

    def __init__(self, stores: tuple[str, ...], folders: tuple[IsolatedFolder, ...], searched: Searched) -> None:
        self.stores = stores
        self.folders = folders
        self.searched = searched

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.stores, tuple(map(tuple, self.folders)), self.searched)


def _arrived(stores: tuple[str, ...], folders: Iterable[tuple[Any, ...]], searched: Searched) -> Reference:
    for store in stores:
        announce_store(Path(store))
    for folder in folders:
        announce_folder(IsolatedFolder(*folder))
    for identifier, places in searched.items():
        for place, names in places.items():
            announce_search(identifier, place, names)
    return _reference()


def announce_store(root: Path) -> None:
    """Make a store known to this process and to the processes it starts."""
    with _lock:
        known = [*map(str, announced_stores())]
        if str(root) not in known:
            known.append(str(root))
            plain = not any(os.pathsep in text for text in known)
            os.environ[STORES_VARIABLE] = os.pathsep.join(known) if plain else json.dumps(known)
            _send_along()


def announce_folder(folder: IsolatedFolder) -> None:
    """Make an isolated folder known to this process and to the processes it starts."""
    with _lock:
        known = announced_folders()
        if known.get(folder.identifier) != folder:
            os.environ[FOLDERS_VARIABLE] = json.dumps([*({**known, folder.identifier: folder}).values()])
            _send_along()


def announce_search(identifier: str, folder: str, names: Iterable[str]) -> None:
    """Make known that a unit also searches one of its folders, but not for some names that lie there."""
    with _lock:
        known = announced_searches()
        places = known.setdefault(identifier, {})
        if places.get(folder) != sorted(names):
            places[folder] = sorted(names)
            os.environ[SEARCHED_VARIABLE] = json.dumps(known)
            _send_along()


def announced_stores() -> list[Path]:
    """Return the stores this process was told of."""
    told = os.environ.get(STORES_VARIABLE, "")
    listed: list[str] = json.loads(told) if told.startswith('["') else told.split(os.pathsep)
    return [Path(text) for text in listed if text]


def announced_folders() -> dict[str, IsolatedFolder]:
    """Return the folders this process was told of, by identifier of their units."""
    told = json.loads(os.environ.get(FOLDERS_VARIABLE) or "[]")
    return {folder[0]: IsolatedFolder(*folder) for folder in told}


def announced_searches() -> Searched:
    """Return the folders that units search besides their own, by identifier, each with names it does not bring."""
    told: Searched = json.loads(os.environ.get(SEARCHED_VARIABLE) or "{}")
    return told


def searched_stores() -> list[Path]:
    """Return every store in which an unknown unit is looked for."""
    default = os.environ.get(STORE_VARIABLE)
    found = announced_stores()
    if default and Path(default) not in found:
        found.append(Path(default))
    if not default:
        import platformdirs

        standard = Path(platformdirs.user_data_dir("mpt")) / "store"
        if standard not in found:
            found.append(standard)
    return found


def _reference() -> Reference:
    return Reference(tuple(map(str, announced_stores())), tuple(announced_folders().values()), announced_searches())


def _send_along() -> None:
    """Renew the reference: the configuration is copied into every Process and pickled before its target."""
    config = getattr(multiprocessing.process.current_process(), "_config", None)
    if config is not None:
        config["mpt_announced"] = _reference()
