"""The store: unpacked, verified wheels, each unit of them importable beside any other."""

from app_loader.store.entry import Entry, StoredWheel
from app_loader.store.importing import import_isolated
from app_loader.store.scan import Registration, ScanReport, Sighting
from app_loader.store.store import Store

__all__ = ["Entry", "Registration", "ScanReport", "Sighting", "Store", "StoredWheel", "import_isolated"]
