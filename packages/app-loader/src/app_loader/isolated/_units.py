"""Which units this process knows, and how one is read from a store's entry."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app_loader.errors import IsolationError
from app_loader.isolated._announced import announced_searches
from app_loader.isolated._listed import names_in
from app_loader.isolated._names import PREFIX
from app_loader.isolated._owned import OwnedNames
from app_loader.isolated._unit import Part, Unit

ENTRY_FILE = "entry.json"

_units: dict[str, Unit] = {}
_lock = threading.RLock()


def register_unit(unit: Unit) -> Unit:
    """Make a unit importable; the same digest gives the unit that is known already.

    Raises:
        IsolationError: another unit has the same identifier and another digest.
    """
    with _lock:
        known = _units.get(unit.identifier)
        if known is None:
            _units[unit.identifier] = unit
            for place, left in announced_searches().get(unit.identifier, {}).items():
                unit.search_also(place, names_in(place).keys() - left)
            _adopt_loggers(unit)
            return unit
        if known.digest != unit.digest:
            raise IsolationError(
                f"{unit.distribution} {unit.version}",
                f"its name {unit.identifier} is taken by digest {known.digest}, and its own is {unit.digest}",
                "one of the two in a process of its own",
            )
        return known


def forget_unit(identifier: str) -> Unit | None:
    """Forget a unit; its modules are no longer importable."""
    with _lock:
        return _units.pop(identifier, None)


def find_known_unit(identifier: str) -> Unit | None:
    """Return a unit of this process by identifier, or None; the disk is not read."""
    return _units.get(identifier)


def known_units() -> list[Unit]:
    """Return the units of this process."""
    with _lock:
        return list(_units.values())


def is_imported(unit: Unit, name: str) -> bool:
    """Whether a module of a unit, given by its original name, is imported."""
    return unit.isolated_name(name) in sys.modules


def read_unit(folder: Path, document: Mapping[str, Any] | None = None) -> Unit:
    """Return the unit that an entry's folder describes; its document is read when it is not given."""
    if document is None:
        document = json.loads((folder / ENTRY_FILE).read_text("utf-8"))
        assert document is not None
    parts = tuple(
        Part(
            distribution=wheel["name"],
            version=wheel["version"],
            owned=OwnedNames(whole=frozenset(wheel["owned"]["whole"]), partly=frozenset(wheel["owned"]["partly"])),
            info=folder / "site" / wheel["info"],
        )
        for wheel in document["wheels"]
    )
    return Unit(
        parts=parts,
        digest=document["digest"],
        folder=folder / "site",
        bytecode=folder.parent.parent / "bytecode" / folder.name,
        hashes=document["files"],
        native=tuple(document["scan"]["native"]),
        identifier=folder.name,
    )


def _adopt_loggers(unit: Unit) -> None:
    """Let each logger of the unit hand its records to the logger of the original name: its level and handlers apply."""
    package = PREFIX.rstrip(".")
    for name in (package.partition(".")[0], package, unit.prefix):
        logging.getLogger(name)  # without these, logging would re-hang the loggers below when one is made later
    for root in unit.owned.roots:
        logging.getLogger(f"{unit.prefix}.{root}").parent = logging.getLogger(root)
