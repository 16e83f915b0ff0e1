"""What this package can do without: optional dependencies, asked for at the moment they are needed."""

from __future__ import annotations

import importlib

from mpt_format.errors import MissingExtraError


def check_torch(purpose: str) -> None:
    """Make sure that torch can be imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        importlib.import_module("torch")
    except ImportError:
        raise MissingExtraError("torch", purpose) from None
