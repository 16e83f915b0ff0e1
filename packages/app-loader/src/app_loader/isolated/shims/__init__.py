"""What isolated code sees in place of the parts of shared modules that look names up."""

from app_loader.isolated.shims.table import furnish, make_shim

__all__ = ["furnish", "make_shim"]
