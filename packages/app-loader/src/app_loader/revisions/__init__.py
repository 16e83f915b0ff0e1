"""Following reviewed revisions: from an archive to other code, lazily, proven, and written as a new archive."""

from app_loader.revisions.migrated import Migrated, follow
from app_loader.revisions.route import Route, find_head, find_route

__all__ = ["Migrated", "Route", "find_head", "find_route", "follow"]
