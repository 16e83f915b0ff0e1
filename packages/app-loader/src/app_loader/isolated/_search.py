"""Finding a unit by its name, as unpickling asks for it: here, or where another process had it.

The disk is read only for a name that is not known yet: the stores and the folders that were announced.
"""

from __future__ import annotations

from app_loader.errors import UnitNotFoundError
from app_loader.isolated._announced import announce_store, announced_folders, searched_stores
from app_loader.isolated._directory import find_isolated_folder
from app_loader.isolated._names import PREFIX, find_identity
from app_loader.isolated._unit import Unit
from app_loader.isolated._units import ENTRY_FILE, find_known_unit, read_unit, register_unit


def find_unit(identifier: str) -> Unit | None:
    """Return a unit by identifier, from this process, a store or a folder; None for a name that no unit can have.

    Raises:
        UnitNotFoundError: it is a unit's name, and no store or folder here holds it.
    """
    unit = find_known_unit(identifier)
    if unit is not None:
        return unit
    identity = find_identity(identifier)
    if identity is None:
        return None
    stores = searched_stores()
    for root in stores:
        folder = root / "entries" / identifier
        if (folder / ENTRY_FILE).is_file():
            announce_store(root)
            return register_unit(read_unit(folder))
    isolated = announced_folders().get(identifier)
    if isolated is not None:
        unit = find_isolated_folder(isolated)
        if unit is not None:
            return unit
    raise UnitNotFoundError(
        PREFIX + identifier,
        distribution=identity.distribution,
        version=identity.version,
        digest=identity.digest,
        stores=[str(root) for root in stores],
        folder=isolated.path if isolated is not None else None,
    )
