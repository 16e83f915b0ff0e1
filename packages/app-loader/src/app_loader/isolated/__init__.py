"""Several versions of one package in one process, each under a real, importable name.

Importing this package installs its finder; nothing else happens until an isolated name is asked for. This is
namespacing, not a sandbox: isolated code can do whatever any imported code can do.
"""

from app_loader.isolated._directory import isolate_directory
from app_loader.isolated._finder import install
from app_loader.isolated._names import make_identifier, original_name
from app_loader.isolated._owned import NATIVE_SUFFIXES, OwnedNames, owned_names
from app_loader.isolated._unit import Part, Unit
from app_loader.isolated._units import announce_store, find_unit, known_units, read_unit, register_unit

install()

__all__ = [
    "NATIVE_SUFFIXES",
    "OwnedNames",
    "Part",
    "Unit",
    "announce_store",
    "find_unit",
    "isolate_directory",
    "known_units",
    "make_identifier",
    "original_name",
    "owned_names",
    "read_unit",
    "register_unit",
]
