"""The table of known types: how each becomes JSON, and what is lost by it.

One function for each kind; each takes the converter, the node, its path and its depth, and refuses what it cannot read.
"""

from __future__ import annotations

__all__ = ["KNOWN", "convert_path"]

import datetime as dt
from typing import Protocol

from mpt_format.audit._judge import find_bytes, find_callee_name
from mpt_format.audit._nodes import Call, Global, Node
from mpt_format.audit._structure import key_value_pairs
from mpt_format.audit._walk import format_step, state_attributes
from mpt_format.strict_json import Json

from ._losses import Refused, check_text
from ._times import Zone, read_datetime, read_time, read_timedelta, read_zone


class Converter(Protocol):
    """What the functions here need of the converter that calls them."""

    timestamps: bool

    def lose(self, path: str, was: str, became: str) -> None:
        """Write down one loss."""

    def is_dropped(self, path: str) -> bool:
        """Whether the caller asked to leave this path out."""

    def inner(self, node: Node, path: str, depth: int) -> Json:
        """The JSON form of a part."""

    def mapping(self, pairs: list[tuple[Node, Node]], path: str, depth: int) -> Json:
        """Keys and values as a JSON object."""

    def sorted_set(self, items: list[Node], path: str, depth: int) -> Json:
        """The items of a set as a sorted list."""


def convert_path(converter: Converter, node: Call, path: str) -> Json:
    args = node.args if type(node.args) is tuple else ()
    if not all(type(part) is str for part in args):
        raise Refused("a path whose parts are no text")
    converter.lose(path, "a path", "text")
    text = "/".join(args)
    return text.replace("//", "/", 1) if text.startswith("//") else text


def _datetime(converter: Converter, node: Call, path: str, depth: int) -> Json:
    found = read_datetime(node)
    if found is None:
        raise Refused("a datetime that cannot be read")
    value, zone = found
    if converter.timestamps and value.tzinfo is not None:
        converter.lose(path, "a datetime", "a timestamp in seconds")
        return value.timestamp()
    return _moment(converter, "datetime", value, zone, path)


def _moment(converter: Converter, word: str, value: dt.datetime | dt.time, zone: Zone, path: str) -> Json:
    """ISO 8601 text; the second of two equal local times is told where only the zone's rules know the offset."""
    text = value.isoformat() + zone.suffix
    named = zone.name and value.tzinfo is None
    known = " with the zone's name; its offset is not in the file" if named else ""
    known = known or ("" if value.tzinfo is not None or word == "time" else " without a zone, as it was")
    converter.lose(path, f"a {word}", f"ISO 8601 text{known}")
    return {"at": text, "fold": 1} if named and value.fold else text


def _date(converter: Converter, node: Call, path: str, depth: int) -> Json:
    raw = find_bytes(node.args[0]) if type(node.args) is tuple and node.args else None
    if raw is None or len(raw) != 4:
        raise Refused("a date that cannot be read")
    converter.lose(path, "a date", "ISO 8601 text")
    return f"{raw[0] * 256 + raw[1]:04d}-{raw[2]:02d}-{raw[3]:02d}"


def _time(converter: Converter, node: Call, path: str, depth: int) -> Json:
    found = read_time(node)
    if found is None:
        raise Refused("a time that cannot be read")
    return _moment(converter, "time", *found, path)


def _timedelta(converter: Converter, node: Call, path: str, depth: int) -> Json:
    value = read_timedelta(node)
    if value is None:
        raise Refused("a timedelta that cannot be read")
    converter.lose(path, "a timedelta", "seconds")
    return value.total_seconds()


def _timezone(converter: Converter, node: Call, path: str, depth: int) -> Json:
    zone = read_zone(node)
    if zone is None:
        raise Refused("a time zone that cannot be read")
    converter.lose(path, "a time zone", "its name" if zone.name else "text")
    return str(zone)


def _random(converter: Converter, node: Call, path: str, depth: int) -> Json:
    """A generator of numpy: what it was made of, and its state, so that it can be set again."""
    args = node.args if type(node.args) is tuple else ()
    name = (find_callee_name(node.func) or "").rpartition(".")[2]
    word = _RANDOM_WORDS[name]
    converter.lose(path, f"a numpy {word}", "its state")
    given = [arg for arg in args if type(arg) is not Global or not _is_constructor(arg)]
    told: dict[str, Json] = {"numpy": word}
    if name == "__pyx_unpickle_SeedSequence":
        given = [part for part in args[2:] if part is not None]
    if given:
        told["of"] = converter.inner(given[0], f"{path}.<args>[0]", depth)
    states = [state for state in node.states or () if state is not None]
    if states:
        told["state"] = converter.inner(states[0], f"{path}.<state>", depth)
    return told


def _deque(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    given = list(args[0]) if args and type(args[0]) in (list, tuple) else []
    items = [*given, *(node.items or ())]
    maxlen = args[1] if len(args) > 1 and type(args[1]) is int else None
    converter.lose(path, "a deque", "a list with its maxlen")
    return {"items": [converter.inner(item, f"{path}[{at}]", depth) for at, item in enumerate(items)], "maxlen": maxlen}


def _dict(converter: Converter, node: Call, path: str, depth: int) -> Json:
    name = (find_callee_name(node.func) or "").rpartition(".")[2]
    if name != "OrderedDict":
        converter.lose(path, f"a {name}", "a dict")
    if name == "defaultdict" and type(node.args) is tuple and node.args and type(node.args[0]) is Global:
        converter.lose(path, f"the default {node.args[0].full_name} of a defaultdict", "nothing")
    return converter.mapping(key_value_pairs(node) or [], path, depth)


def _namespace(converter: Converter, node: Call, path: str, depth: int) -> Json:
    attributes = state_attributes(node)
    if attributes is None:
        raise Refused("a namespace that cannot be read")
    converter.lose(path, "a Namespace", "a dict")
    return {
        check_text(key): converter.inner(value, path + format_step(("attr", key)), depth)
        for key, value in attributes
        if not converter.is_dropped(path + format_step(("attr", key)))
    }


def _collection(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    given = list(args[0]) if args and type(args[0]) in (list, tuple) else []
    return converter.sorted_set([*given, *(node.items or ())], path, depth)


def _text(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    name = find_callee_name(node.func) or ""
    if len(args) != 1 or type(args[0]) is not str:
        raise Refused(f"a {name} that cannot be read")
    converter.lose(path, f"a {name}", "text")
    return check_text(args[0])


def _dtype(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    if not args or type(args[0]) is not str:
        raise Refused("a numpy dtype that cannot be read")
    orders = [state[1] for state in node.states or () if type(state) is tuple and len(state) > 1]
    converter.lose(path, "a numpy dtype", "text")
    return check_text((">" if ">" in orders else "") + args[0])


def _uuid(converter: Converter, node: Call, path: str, depth: int) -> Json:
    number = dict(state_attributes(node) or ()).get("int")
    if type(number) is not int or not 0 <= number < 1 << 128:
        raise Refused("a UUID that cannot be read")
    digits = f"{number:032x}"
    converter.lose(path, "a UUID", "text")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _plain_list(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    name = (find_callee_name(node.func) or "").rpartition(".")[2]
    converter.lose(path, f"a {name}", "a list")
    return [converter.inner(child, f"{path}.<args>[{at}]", depth) for at, child in enumerate(args)]


def _first(converter: Converter, node: Call, path: str, depth: int) -> Json:
    args = node.args if type(node.args) is tuple else ()
    name = (find_callee_name(node.func) or "").rpartition(".")[2]
    if len(args) != 1 or type(args[0]) not in (list, tuple):
        raise Refused(f"a {name} that cannot be read")
    converter.lose(path, f"a {name}", "a list")
    return [converter.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(args[0])]


_RANDOM_WORDS = {
    "__randomstate_ctor": "RandomState",
    "__generator_ctor": "Generator",
    "__bit_generator_ctor": "bit generator",
    "__pyx_unpickle_SeedSequence": "SeedSequence",
}


def _is_constructor(node: Global) -> bool:
    """Whether an argument is the function that numpy gives along to make the inner generator."""
    return node.name in _RANDOM_WORDS


KNOWN = {
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "pytz._UTC": _timezone,
    "pytz._p": _timezone,
    "zoneinfo.ZoneInfo": _timezone,
    "zoneinfo.ZoneInfo._unpickle": _timezone,
    "numpy.random._pickle.__randomstate_ctor": _random,
    "numpy.random._pickle.__generator_ctor": _random,
    "numpy.random._pickle.__bit_generator_ctor": _random,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _random,
    "numpy.random._bit_generator.__pyx_unpickle_SeedSequence": _random,
    "collections.deque": _deque,
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _dict,
    "builtins.dict": _dict,
    "types.SimpleNamespace": _namespace,
    "argparse.Namespace": _namespace,
    "builtins.set": _collection,
    "builtins.frozenset": _collection,
    "decimal.Decimal": _text,
    "fractions.Fraction": _text,
    "uuid.UUID": _uuid,
    "numpy.dtype": _dtype,
    "builtins.slice": _plain_list,
    "builtins.range": _plain_list,
    "builtins.complex": _plain_list,
    "torch.device": _plain_list,
    "torch.Size": _first,
    "builtins.list": _first,
    "builtins.tuple": _first,
}
