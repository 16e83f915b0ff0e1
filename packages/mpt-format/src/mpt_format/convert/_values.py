"""Objects of a pickle as strict JSON: known types by a table, unknown ones refused, every change written down.

A value is never guessed at: what the table does not know is a refusal with its path, unless the caller said that
objects become dicts of their fields (`as_fields`) or that the path is dropped. Each conversion that loses something,
even a tuple's type, is a loss entry.
"""

from __future__ import annotations

__all__ = ["Loss", "ValueConverter"]

import base64
import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpt_format.audit._judge import find_bytes, find_callee_name, judge_call
from mpt_format.audit._nodes import BigInt, ByteArray, Call, DictNode, Global, Node, Persistent, SetNode, find_class
from mpt_format.audit._structure import key_value_pairs
from mpt_format.audit._tensors import TensorRecord, find_tensor
from mpt_format.audit._walk import format_key, format_step, state_attributes
from mpt_format.strict_json import Json

from ._arrays import read_array, read_scalar
from ._times import Zone, read_datetime, read_time, read_timedelta, read_zone

_MAX_LISTED = 4096
"""Numbers of an array that become a JSON list; a larger array is kept as a tensor or refused."""
_MAX_DEPTH = 60
_SAFE_INTEGER = 1 << 53
_CLASS_FIRST = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One thing that the output does not say the way the source did: where, what it was, what became of it."""

    path: str
    was: str
    became: str

    def to_json(self) -> dict[str, Json]:
        """The loss as JSON values."""
        return {"path": self.path, "was": self.was, "became": self.became}


class _Refused(Exception):
    """A node has no JSON form; the text says why."""


class ValueConverter:
    """Turns nodes into JSON values and collects losses and refusals on the way."""

    def __init__(
        self,
        *,
        as_fields: bool = False,
        timestamps: bool = False,
        drop: frozenset[str] = frozenset(),
        read_numbers: Callable[[TensorRecord], Json] | None = None,
    ) -> None:
        self._as_fields = as_fields
        self._timestamps = timestamps
        self._drop = drop
        self._read_numbers = read_numbers
        self.dropped: set[str] = set()
        self.losses: list[Loss] = []
        self.refusals: list[tuple[str, str]] = []
        self._open: set[int] = set()
        self._configs = 0
        """How many configs of omegaconf stand around the one that is read."""
        self._left_out: set[int] = set()

    def leave_out(self, node: Node) -> None:
        """Skip this node wherever it stands (the state dict, which is written elsewhere), and list tensors as lost."""
        self._left_out.add(id(node))

    def convert(self, node: Node, path: str) -> Json:
        """The JSON form of a node; what has none becomes null and is listed in `refusals`."""
        try:
            return self._value(node, path, 0)
        except _Refused as refused:
            self.refusals.append((path, str(refused)))
            return None

    def is_dropped(self, path: str) -> bool:
        """Whether the caller asked to leave this path out; then that is written down."""
        if path in self._drop:
            self.dropped.add(path)
            self.losses.append(Loss(path=path, was="an object", became="dropped, as asked"))
            return True
        return False

    def lose(self, path: str, was: str, became: str) -> None:
        """Write down one loss."""
        self.losses.append(Loss(path=path, was=was, became=became))

    def _inner(self, node: Node, path: str, depth: int) -> Json:
        if self.is_dropped(path):
            return None
        try:
            return self._value(node, path, depth + 1)
        except _Refused as refused:
            self.refusals.append((path, str(refused)))
            return None

    def _value(self, node: Node, path: str, depth: int) -> Json:
        kind = type(node)
        if id(node) in self._left_out:
            return None
        if node is None or kind is bool or kind is str:
            return _checked_text(node) if kind is str else node
        if kind is int:
            if abs(node) >= _SAFE_INTEGER:
                self.lose(path, "a large integer", "text of its digits")
                return _digits(node)
            return int(node)
        if kind is float:
            if math.isfinite(node):
                return float(node)
            self.lose(path, f"the float {node}", "text")
            return repr(node)
        if depth > _MAX_DEPTH:
            raise _Refused(f"nested deeper than {_MAX_DEPTH} levels")
        if id(node) in self._open:
            raise _Refused("it contains itself")
        self._open.add(id(node))
        try:
            return self._compound(node, path, depth)
        finally:
            self._open.discard(id(node))

    def _compound(self, node: Node, path: str, depth: int) -> Json:
        kind = type(node)
        if kind is list:
            return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node)]
        if kind is tuple:
            self.lose(path, "a tuple", "a list")
            return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node)]
        if kind is DictNode:
            return self._mapping(key_value_pairs(node) or [], path, depth)
        if kind is SetNode:
            return self._set(list(node), path, depth)
        raw = find_bytes(node)
        if raw is None and kind is ByteArray:
            raw = bytes(node.data)
        if raw is not None:
            self.lose(path, "bytes", "base64 text")
            return base64.b64encode(raw).decode("ascii")
        if kind is BigInt:
            raise _Refused("an integer too long to be kept")
        if kind is Global:
            self.lose(path, "a class or function", "text: its name")
            return str(node.full_name)
        if kind is Persistent:
            raise _Refused("an object kept outside the pickle")
        if isinstance(node, Call):
            return self._call(node, path, depth)
        raise _Refused(f"a {kind.__name__} cannot be kept")

    def _mapping(self, pairs: list[tuple[Node, Node]], path: str, depth: int) -> Json:
        made: dict[str, Json] = {}
        renamed = [type(key).__name__ for key, _ in pairs if type(key) in (int, bool, float) or key is None]
        if renamed:
            kinds = " and ".join(sorted(set(renamed)))
            self.lose(path, f"{len(renamed)} keys of type {kinds}", "text keys")
        if self._as_fields and any(find_tensor(key) is not None for key, _ in pairs):
            self.lose(path, "entries whose keys are tensors, as in a live optimizer", "left out")
            pairs = [(key, value) for key, value in pairs if find_tensor(key) is None]
        for key, value in pairs:
            below = f"{path}[{format_key(key)}]"
            if type(key) is str:
                text = _checked_text(key)
            elif type(key) in (int, bool, float) or key is None:
                text = str(key)
            else:
                self.refusals.append((below, "its key is no text or number"))
                continue
            if text in made:
                self.refusals.append((below, "two keys become the same text"))
                continue
            if self.is_dropped(below):
                continue
            made[text] = self._inner(value, below, depth)
        return made

    def _set(self, items: list[Node], path: str, depth: int) -> Json:
        self.lose(path, "a set", "a sorted list")
        converted = [self._inner(child, f"{path}.<items>[{at}]", depth) for at, child in enumerate(items)]
        return sorted(converted, key=lambda value: (type(value).__name__, str(value)))

    def _call(self, node: Call, path: str, depth: int) -> Json:
        tensor = find_tensor(node)
        if tensor is not None:
            wanted = self._read_numbers is not None and (not self._left_out or tensor.shape == ())
            numbers = self._read_numbers(tensor) if wanted and self._read_numbers is not None else None
            if numbers is not None:
                became = "a list of numbers" if tensor.shape else "a number"
                self.lose(path, f"a tensor {tensor.dtype} {list(tensor.shape)}", became)
                return numbers
            if self._left_out:
                self.lose(path, "a tensor beside the state dict", "left out")
                return None
            raise _Refused("a tensor among plain values: name its mapping with --state-path, or drop it")
        name = find_callee_name(node.func)
        if name is None:
            raise _Refused("it is made by a computed call")
        array = read_array(node)
        if array is not None:
            return self._array(array, path)
        scalar = read_scalar(node)
        if scalar is not None:
            self.lose(path, f"a numpy {scalar[0]}", "a number")
            return self._value(scalar[1], path, depth)
        if name in _CLASS_FIRST and type(node.args) is tuple and node.args and find_class(node.args[0]) is not None:
            name = find_class(node.args[0]).full_name  # type: ignore[union-attr]
        known = _KNOWN.get(name)
        if known is not None:
            return known(self, node, path, depth)
        if name.startswith("pathlib."):
            return self._path(node, path)
        return self._unknown(node, name, path, depth)

    def _unknown(self, node: Call, name: str, path: str, depth: int) -> Json:
        judged = judge_call(node)
        args = node.args if type(node.args) is tuple else ()
        if judged.severity == "dangerous":
            raise _Refused(f"{judged.why}: only dropping it is possible")
        if judged.kind == "enum":
            if node.op == 0x52 and name == "builtins.getattr":
                self.lose(path, f"the Enum {judged.name}", "its name")
                return str(judged.name.rpartition(".")[2])
            value = self._value(args[0], path, depth) if args else None
            self.lose(path, f"an Enum {judged.name}", "its value (the name is not in the file)")
            return value
        if judged.kind in ("dict subclass", "OrderedDict subclass", "omegaconf") and node.pairs is not None:
            self.lose(path, f"a {judged.name}", "a plain dict")
            self._note_attributes(node, path)
            return self._mapping(key_value_pairs(node) or [], path, depth)
        if judged.kind == "list subclass" and node.items is not None:
            self.lose(path, f"a {judged.name}", "a plain list")
            self._note_attributes(node, path)
            return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node.items)]
        if judged.kind.endswith(" subclass") and args:
            self.lose(path, f"a {judged.name}", "its plain value")
            return self._value(args[-1], path, depth)
        if judged.kind == "namedtuple":
            self.lose(path, f"a namedtuple {judged.name}", "a list (field names are not in the file)")
            return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(args)]
        attributes = state_attributes(node)
        if judged.kind == "omegaconf" and attributes is not None:
            return self._omegaconf(node, path, depth)
        if judged.kind in ("object", "optimizer", "scheduler", "nn.Module") and attributes is not None:
            if not self._as_fields:
                self._refuse_parts(attributes, path, depth)
                raise _Refused(f"an object of {judged.name}: pass --as-fields to keep its fields, or drop it")
            self.lose(path, f"an object of {judged.name}", "a dict of its fields")
            return {
                _checked_text(key): self._inner(value, path + format_step(("attr", key)), depth)
                for key, value in attributes
                if not self.is_dropped(path + format_step(("attr", key)))
            }
        if judged.severity == "incompatible" and judged.kind in ("torch value", "function", "class"):
            self.lose(path, f"a {judged.kind}", "text: its name")
            return judged.name
        raise _Refused(f"{judged.kind} ({judged.name}), which no rule converts: drop it, or change the training script")

    def _refuse_parts(self, attributes: list[tuple[str, Node]], path: str, depth: int) -> None:
        """Collect what would be refused inside an object that is refused itself; nothing of it is kept yet."""
        losses = len(self.losses)
        for key, value in attributes:
            below = path + format_step(("attr", key))
            if below not in self._drop:
                self._inner(value, below, depth)
        del self.losses[losses:]

    def _omegaconf(self, node: Call, path: str, depth: int) -> Json:
        """A config of omegaconf as plain values; interpolations stay the text that they are."""
        attributes = dict(state_attributes(node) or ())
        inside = attributes.get("_content", attributes.get("_val"))
        self._configs += 1
        try:
            if self._configs == 1:
                self.lose(path, "a config of omegaconf", "plain values, interpolations as text")
            if key_value_pairs(inside) is not None:
                return self._mapping(key_value_pairs(inside) or [], path, depth)
            if type(inside) is list:
                return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(inside)]
            return self._value(inside, path, depth)
        finally:
            self._configs -= 1

    def _note_attributes(self, node: Call, path: str) -> None:
        if node.states:
            self.lose(path, "attributes beside its items", "nothing")

    def _array(self, array: Any, path: str) -> Json:
        if array.is_object:
            raise _Refused("a numpy array of objects")
        values = array.to_list(_MAX_LISTED)
        if values is None:
            raise _Refused(f"a numpy array of more than {_MAX_LISTED} numbers, or of a dtype that no list holds")
        self.lose(path, f"a numpy array {array.dtype} {list(array.shape)}", "a list")
        return values  # type: ignore[no-any-return]

    def _path(self, node: Call, path: str) -> Json:
        args = node.args if type(node.args) is tuple else ()
        if not all(type(part) is str for part in args):
            raise _Refused("a path whose parts are no text")
        self.lose(path, "a path", "text")
        text = "/".join(args)
        return text.replace("//", "/", 1) if text.startswith("//") else text

    # The table of known types; each takes (node, path, depth).

    def _datetime(self, node: Call, path: str, depth: int) -> Json:
        found = read_datetime(node)
        if found is None:
            raise _Refused("a datetime that cannot be read")
        value, zone = found
        if self._timestamps and value.tzinfo is not None:
            self.lose(path, "a datetime", "a timestamp in seconds")
            return value.timestamp()
        return self._moment("datetime", value, zone, path)

    def _moment(self, word: str, value: dt.datetime | dt.time, zone: Zone, path: str) -> Json:
        """ISO 8601 text; the second of two equal local times is told where only the zone's rules know the offset."""
        text = value.isoformat() + zone.suffix
        named = zone.name and value.tzinfo is None
        known = " with the zone's name; its offset is not in the file" if named else ""
        known = known or ("" if value.tzinfo is not None or word == "time" else " without a zone, as it was")
        self.lose(path, f"a {word}", f"ISO 8601 text{known}")
        return {"at": text, "fold": 1} if named and value.fold else text

    def _date(self, node: Call, path: str, depth: int) -> Json:
        raw = find_bytes(node.args[0]) if type(node.args) is tuple and node.args else None
        if raw is None or len(raw) != 4:
            raise _Refused("a date that cannot be read")
        self.lose(path, "a date", "ISO 8601 text")
        return f"{raw[0] * 256 + raw[1]:04d}-{raw[2]:02d}-{raw[3]:02d}"

    def _time(self, node: Call, path: str, depth: int) -> Json:
        found = read_time(node)
        if found is None:
            raise _Refused("a time that cannot be read")
        return self._moment("time", *found, path)

    def _timedelta(self, node: Call, path: str, depth: int) -> Json:
        value = read_timedelta(node)
        if value is None:
            raise _Refused("a timedelta that cannot be read")
        self.lose(path, "a timedelta", "seconds")
        return value.total_seconds()

    def _timezone(self, node: Call, path: str, depth: int) -> Json:
        zone = read_zone(node)
        if zone is None:
            raise _Refused("a time zone that cannot be read")
        self.lose(path, "a time zone", "its name" if zone.name else "text")
        return str(zone)

    def _random(self, node: Call, path: str, depth: int) -> Json:
        """A generator of numpy: what it was made of, and its state, so that it can be set again."""
        args = node.args if type(node.args) is tuple else ()
        name = (find_callee_name(node.func) or "").rpartition(".")[2]
        word = _RANDOM_WORDS[name]
        self.lose(path, f"a numpy {word}", "its state")
        given = [arg for arg in args if type(arg) is not Global or not _is_constructor(arg)]
        told: dict[str, Json] = {"numpy": word}
        if name == "__pyx_unpickle_SeedSequence":
            given = [part for part in args[2:] if part is not None]
        if given:
            told["of"] = self._inner(given[0], f"{path}.<args>[0]", depth)
        states = [state for state in node.states or () if state is not None]
        if states:
            told["state"] = self._inner(states[0], f"{path}.<state>", depth)
        return told

    def _deque(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        given = list(args[0]) if args and type(args[0]) in (list, tuple) else []
        items = [*given, *(node.items or ())]
        maxlen = args[1] if len(args) > 1 and type(args[1]) is int else None
        self.lose(path, "a deque", "a list with its maxlen")
        return {"items": [self._inner(item, f"{path}[{at}]", depth) for at, item in enumerate(items)], "maxlen": maxlen}

    def _dict(self, node: Call, path: str, depth: int) -> Json:
        name = (find_callee_name(node.func) or "").rpartition(".")[2]
        if name != "OrderedDict":
            self.lose(path, f"a {name}", "a dict")
        if name == "defaultdict" and type(node.args) is tuple and node.args and type(node.args[0]) is Global:
            self.lose(path, f"the default {node.args[0].full_name} of a defaultdict", "nothing")
        return self._mapping(key_value_pairs(node) or [], path, depth)

    def _namespace(self, node: Call, path: str, depth: int) -> Json:
        attributes = state_attributes(node)
        if attributes is None:
            raise _Refused("a namespace that cannot be read")
        self.lose(path, "a Namespace", "a dict")
        return {
            _checked_text(key): self._inner(value, path + format_step(("attr", key)), depth)
            for key, value in attributes
            if not self.is_dropped(path + format_step(("attr", key)))
        }

    def _collection(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        given = list(args[0]) if args and type(args[0]) in (list, tuple) else []
        return self._set([*given, *(node.items or ())], path, depth)

    def _text(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        name = find_callee_name(node.func) or ""
        if len(args) != 1 or type(args[0]) is not str:
            raise _Refused(f"a {name} that cannot be read")
        self.lose(path, f"a {name}", "text")
        return _checked_text(args[0])

    def _dtype(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        if not args or type(args[0]) is not str:
            raise _Refused("a numpy dtype that cannot be read")
        orders = [state[1] for state in node.states or () if type(state) is tuple and len(state) > 1]
        self.lose(path, "a numpy dtype", "text")
        return _checked_text((">" if ">" in orders else "") + args[0])

    def _uuid(self, node: Call, path: str, depth: int) -> Json:
        number = dict(state_attributes(node) or ()).get("int")
        if type(number) is not int or not 0 <= number < 1 << 128:
            raise _Refused("a UUID that cannot be read")
        digits = f"{number:032x}"
        self.lose(path, "a UUID", "text")
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _plain_list(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        name = (find_callee_name(node.func) or "").rpartition(".")[2]
        self.lose(path, f"a {name}", "a list")
        return [self._inner(child, f"{path}.<args>[{at}]", depth) for at, child in enumerate(args)]

    def _first(self, node: Call, path: str, depth: int) -> Json:
        args = node.args if type(node.args) is tuple else ()
        name = (find_callee_name(node.func) or "").rpartition(".")[2]
        if len(args) != 1 or type(args[0]) not in (list, tuple):
            raise _Refused(f"a {name} that cannot be read")
        self.lose(path, f"a {name}", "a list")
        return [self._inner(child, f"{path}[{at}]", depth) for at, child in enumerate(args[0])]


def _checked_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def _digits(number: int) -> str:
    if number.bit_length() > 4096:
        raise _Refused("an integer too long to be kept")
    return str(number)


_RANDOM_WORDS = {
    "__randomstate_ctor": "RandomState",
    "__generator_ctor": "Generator",
    "__bit_generator_ctor": "bit generator",
    "__pyx_unpickle_SeedSequence": "SeedSequence",
}


def _is_constructor(node: Global) -> bool:
    """Whether an argument is the function that numpy gives along to make the inner generator."""
    return node.name in _RANDOM_WORDS


_KNOWN = {
    "datetime.datetime": ValueConverter._datetime,
    "datetime.date": ValueConverter._date,
    "datetime.time": ValueConverter._time,
    "datetime.timedelta": ValueConverter._timedelta,
    "datetime.timezone": ValueConverter._timezone,
    "pytz._UTC": ValueConverter._timezone,
    "pytz._p": ValueConverter._timezone,
    "zoneinfo.ZoneInfo": ValueConverter._timezone,
    "zoneinfo.ZoneInfo._unpickle": ValueConverter._timezone,
    "numpy.random._pickle.__randomstate_ctor": ValueConverter._random,
    "numpy.random._pickle.__generator_ctor": ValueConverter._random,
    "numpy.random._pickle.__bit_generator_ctor": ValueConverter._random,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": ValueConverter._random,
    "numpy.random._bit_generator.__pyx_unpickle_SeedSequence": ValueConverter._random,
    "collections.deque": ValueConverter._deque,
    "collections.OrderedDict": ValueConverter._dict,
    "collections.Counter": ValueConverter._dict,
    "collections.defaultdict": ValueConverter._dict,
    "builtins.dict": ValueConverter._dict,
    "types.SimpleNamespace": ValueConverter._namespace,
    "argparse.Namespace": ValueConverter._namespace,
    "builtins.set": ValueConverter._collection,
    "builtins.frozenset": ValueConverter._collection,
    "decimal.Decimal": ValueConverter._text,
    "fractions.Fraction": ValueConverter._text,
    "uuid.UUID": ValueConverter._uuid,
    "numpy.dtype": ValueConverter._dtype,
    "builtins.slice": ValueConverter._plain_list,
    "builtins.range": ValueConverter._plain_list,
    "builtins.complex": ValueConverter._plain_list,
    "torch.device": ValueConverter._plain_list,
    "torch.Size": ValueConverter._first,
    "builtins.list": ValueConverter._first,
    "builtins.tuple": ValueConverter._first,
}
