"""Datetimes, times and zones as the pickle describes them: their bytes read, no time zone database asked.

A zone with a fixed offset makes ISO 8601 text. A zone of the IANA database is kept by its name behind the local time,
as RFC 9557 writes it (`2024-07-01T12:00:00[Europe/Berlin]`): its offset is not in the file, and databases differ.

Source: CPython `Lib/_pydatetime.py` (`_getstate`), `Lib/zoneinfo/_zoneinfo.py` (`__reduce__`), pytz `tzinfo.py`
(`_p`), RFC 9557.
"""

from __future__ import annotations

__all__ = ["Zone", "read_datetime", "read_time", "read_timedelta", "read_zone"]

import datetime as dt
import re
from dataclasses import dataclass

from mpt_format.audit._judge import find_bytes, find_callee_name
from mpt_format.audit._nodes import Call, Global, Node

_ZONE_NAME = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+)*")
_BY_NAME = ("zoneinfo.ZoneInfo", "zoneinfo.ZoneInfo._unpickle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A time zone: its offset where the file has it, its name where it has one."""

    offset: dt.timezone | None = None
    name: str = ""

    @property
    def suffix(self) -> str:
        """What stands behind a time in it."""
        return f"[{self.name}]" if self.name else ""

    def __str__(self) -> str:
        return self.name or str(self.offset)


_NO_ZONE = Zone()


def read_datetime(node: Call) -> tuple[dt.datetime, Zone] | None:
    """The datetime that a node would be, in its offset if that is known, and its zone; None where it cannot be read."""
    args = node.args if type(node.args) is tuple else ()
    raw, zone = _state_and_zone(args, 10)
    if raw is None or zone is None:
        return None
    try:
        return dt.datetime(
            raw[0] * 256 + raw[1], raw[2] & 127, raw[3], raw[4], raw[5], raw[6], int.from_bytes(raw[7:10], "big"),
            tzinfo=zone.offset, fold=raw[2] >> 7,
        ), zone  # fmt: skip
    except ValueError:
        return None


def read_time(node: Call) -> tuple[dt.time, Zone] | None:
    """The time that a node would be, and its zone; None where it cannot be read."""
    raw, zone = _state_and_zone(node.args if type(node.args) is tuple else (), 6)
    if raw is None or zone is None:
        return None
    try:
        micro = int.from_bytes(raw[3:6], "big")
        return dt.time(raw[0] & 127, raw[1], raw[2], micro, tzinfo=zone.offset, fold=raw[0] >> 7), zone
    except ValueError:
        return None


def _state_and_zone(args: tuple[Node, ...], size: int) -> tuple[bytes | None, Zone | None]:
    raw = find_bytes(args[0]) if args else None
    if raw is None or len(raw) != size:
        return None, None
    return raw, read_zone(args[1]) if len(args) > 1 else _NO_ZONE


def read_zone(node: Node) -> Zone | None:
    """The zone that a node would be, or None for what keeps neither an offset nor a name."""
    name = find_callee_name(node.func) if isinstance(node, Call) else node.full_name if type(node) is Global else None
    if name in ("pytz._UTC", "dateutil.tz.tz.tzutc"):
        return Zone(offset=dt.UTC)
    if not isinstance(node, Call) or type(node.args) is not tuple or not node.args:
        return None
    first = node.args[0]
    if name == "datetime.timezone":
        offset = _fixed(read_timedelta(first) if isinstance(first, Call) else None)
        return None if offset is None else Zone(offset=offset)
    if type(first) is not str or len(first) > 255 or not _ZONE_NAME.fullmatch(first):
        return None
    if name in _BY_NAME:
        return Zone(name=first)
    if name == "pytz._p" and len(node.args) == 4 and type(node.args[1]) is int:
        offset = _fixed(dt.timedelta(seconds=node.args[1])) if abs(node.args[1]) < 86400 else None
        return None if offset is None else Zone(offset=offset, name=first)
    return None


def _fixed(offset: dt.timedelta | None) -> dt.timezone | None:
    try:
        return None if offset is None else dt.timezone(offset) if offset else dt.UTC
    except ValueError:
        return None


def read_timedelta(node: Call) -> dt.timedelta | None:
    """The timedelta that a node would be: days, seconds, microseconds."""
    args = node.args
    if find_callee_name(node.func) != "datetime.timedelta" or type(args) is not tuple or len(args) != 3:
        return None
    if any(type(part) is not int for part in args):
        return None
    try:
        return dt.timedelta(args[0], args[1], args[2])
    except OverflowError:
        return None
