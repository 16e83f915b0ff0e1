"""The `mpt` command: the verbs of the format, joined by the verbs of whatever else is installed."""

from __future__ import annotations

from mpt_format.cli.group import main, mpt

__all__ = ["main", "mpt"]
