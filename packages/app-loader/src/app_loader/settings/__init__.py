"""What may be taken from where: `mpt.toml` or ``[tool.mpt]``. The default is that nothing is fetched."""

from app_loader.settings.settings import Index, Settings, parse_settings, read_settings

__all__ = ["Index", "Settings", "parse_settings", "read_settings"]
