"""gymnasium is an extra of app-loader, asked for at the moment it is needed."""

from __future__ import annotations

import importlib

from mpt_format import MissingExtraError


def check_gymnasium(purpose: str) -> None:
    """Make sure that gymnasium can be imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        importlib.import_module("gymnasium")
    except ImportError:
        raise MissingExtraError("gymnasium", purpose, distribution="app-loader") from None
