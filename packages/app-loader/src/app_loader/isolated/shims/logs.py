"""`logging.config` as isolated code sees it: class paths in a configuration mean the own version."""

from __future__ import annotations

import logging.config
from typing import Any

from app_loader.isolated._net import make_import
from app_loader.isolated._unit import Unit


def overrides(unit: Unit) -> dict[str, Any]:
    """Return what turns the dotted paths of a dictionary of settings into classes."""

    class DictConfigurator(logging.config.DictConfigurator):
        importer = staticmethod(make_import(unit))

    def dictConfig(config: Any) -> None:  # the standard library's own name
        DictConfigurator(config).configure()

    return {"DictConfigurator": DictConfigurator, "dictConfig": dictConfig}
