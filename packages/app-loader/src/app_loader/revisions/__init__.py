"""Following reviewed revisions: which lie between an archive and other code, and the archive seen through them, lazily.

Nothing is written or proven here: that is `app_loader.migration`, which stands above `load_policy`.
"""

from app_loader.revisions.migrated import Migrated, follow
from app_loader.revisions.route import Route, find_head, find_route

__all__ = ["Migrated", "Route", "find_head", "find_route", "follow"]
