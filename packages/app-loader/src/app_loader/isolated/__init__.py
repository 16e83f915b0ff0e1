"""Several versions of one package in one process, each under a real, importable name.

Importing this package installs its finder; nothing else happens until an isolated name is asked for. This is
namespacing, not a sandbox: isolated code can do whatever any imported code can do.
"""

from app_loader.isolated._announced import announce_store
from app_loader.isolated._directory import isolate_directory
from app_loader.isolated._finder import install
from app_loader.isolated._names import DIGEST_DIGITS, make_identifier, original_name
from app_loader.isolated._owned import NATIVE_SUFFIXES, OwnedNames, owned_names
from app_loader.isolated._search import find_unit
from app_loader.isolated._tripwires import Effect, Effects, watched
from app_loader.isolated._unit import Part, Unit
from app_loader.isolated._units import (
    find_known_unit,
    is_imported,
    known_units,
    read_unit,
    register_unit,
)
from app_loader.isolated._unload import StillAlive, UnloadReport, unload

install()

__all__ = [
    "DIGEST_DIGITS",
    "NATIVE_SUFFIXES",
    "Effect",
    "Effects",
    "OwnedNames",
    "Part",
    "StillAlive",
    "Unit",
    "UnloadReport",
    "announce_store",
    "find_known_unit",
    "find_unit",
    "is_imported",
    "isolate_directory",
    "known_units",
    "make_identifier",
    "original_name",
    "owned_names",
    "read_unit",
    "register_unit",
    "unload",
    "watched",
]
