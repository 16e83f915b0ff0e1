"""Objects of a pickle as strict JSON: known types by a table, unknown ones refused, every change written down.

A value is never guessed at: what the table does not know is a refusal with its path, unless the caller said that
objects become dicts of their fields (`as_fields`) or that the path is dropped. Each conversion that loses something,
even a tuple's type, is a loss entry.
"""

from __future__ import annotations

__all__ = ["ValueConverter"]

import base64
import math
from collections.abc import Callable
from typing import Any

from mpt_format.audit._judge import find_bytes, find_callee_name, judge_call
from mpt_format.audit._nodes import BigInt, ByteArray, Call, DictNode, Global, Node, Persistent, SetNode, find_class
from mpt_format.audit._structure import key_value_pairs
from mpt_format.audit._tensors import TensorRecord, find_tensor
from mpt_format.audit._walk import format_key, format_step, state_attributes
from mpt_format.errors import ConversionError, escape_text
from mpt_format.strict_json import Json

from ._arrays import read_array, read_scalar
from ._known_values import KNOWN, convert_path
from ._losses import Loss, Refused, check_text, gather_left_out

_MAX_LISTED = 4096
"""Numbers of an array that become a JSON list; a larger array is kept as a tensor or refused."""
_MAX_DEPTH = 60
_MOST_VALUES = 2_000_000
"""Values that are written out: a small file may refer to the same parts again and again, 2^40 times."""
_SAFE_INTEGER = 1 << 53
_CLASS_FIRST = frozenset({"copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"})


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
        self.timestamps = timestamps
        self._drop = drop
        self._read_numbers = read_numbers
        self.dropped: set[str] = set()
        self.losses: list[Loss] = []
        self.refusals: list[tuple[str, str]] = []
        self._open: set[int] = set()
        self._configs = 0
        """How many configs of omegaconf stand around the one that is read."""
        self._left_out: set[int] = set()
        self._values = 0
        self._trail: list[str] = []
        """The paths from the root to what is converted."""
        self._tensors_beside: list[tuple[str, ...]] = []

    def leave_out(self, node: Node) -> None:
        """Skip this node wherever it stands (the state dict, which is written elsewhere), and list tensors as lost."""
        self._left_out.add(id(node))

    def convert(self, node: Node, path: str) -> Json:
        """The JSON form of a node; what has none becomes null and is listed in `refusals`."""
        return self._collect(node, path, 0)

    def _collect(self, node: Node, path: str, depth: int) -> Json:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ConversionError(
                f"what stands beside the state dict is more than {_MOST_VALUES} values when it is written out, up to "
                f"{escape_text(path[:200])}: drop the part that is so large, or all of it with --weights-only"
            )
        self._trail.append(path)
        try:
            return self._value(node, path, depth)
        except Refused as refused:
            self.refusals.append((path, str(refused)))
            return None
        finally:
            self._trail.pop()

    def tell_left_out(self) -> None:
        """Write down the tensors that were left out: those of one mapping, or of many alike, as one loss."""
        self.losses.extend(gather_left_out(self._tensors_beside))
        self._tensors_beside.clear()

    def will_drop(self, path: str) -> bool:
        """Whether the caller asks to leave this path out; nothing is written down yet."""
        return path in self._drop

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

    def inner(self, node: Node, path: str, depth: int) -> Json:
        """The JSON form of a part of a node; null where it is dropped or has none."""
        return None if self.is_dropped(path) else self._collect(node, path, depth + 1)

    def _value(self, node: Node, path: str, depth: int) -> Json:
        kind = type(node)
        if id(node) in self._left_out:
            return None
        if node is None or kind is bool or kind is str:
            return check_text(node) if kind is str else node
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
            raise Refused(f"nested deeper than {_MAX_DEPTH} levels")
        if id(node) in self._open:
            raise Refused("it contains itself")
        self._open.add(id(node))
        try:
            return self._compound(node, path, depth)
        finally:
            self._open.discard(id(node))

    def _compound(self, node: Node, path: str, depth: int) -> Json:
        kind = type(node)
        if kind is list:
            return [self.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node)]
        if kind is tuple:
            self.lose(path, "a tuple", "a list")
            return [self.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node)]
        if kind is DictNode:
            return self.mapping(key_value_pairs(node) or [], path, depth)
        if kind is SetNode:
            return self.sorted_set(list(node), path, depth)
        raw = find_bytes(node)
        if raw is None and kind is ByteArray:
            raw = bytes(node.data)
        if raw is not None:
            self.lose(path, "bytes", "base64 text")
            return base64.b64encode(raw).decode("ascii")
        if kind is BigInt:
            raise Refused("an integer too long to be kept")
        if kind is Global:
            self.lose(path, "a class or function", "text: its name")
            return str(node.full_name)
        if kind is Persistent:
            raise Refused("an object kept outside the pickle")
        if isinstance(node, Call):
            return self._call(node, path, depth)
        raise Refused(f"a {kind.__name__} cannot be kept")

    def mapping(self, pairs: list[tuple[Node, Node]], path: str, depth: int) -> Json:
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
                text = check_text(key)
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
            made[text] = self.inner(value, below, depth)
        return made

    def sorted_set(self, items: list[Node], path: str, depth: int) -> Json:
        """The items of a set, sorted as text."""
        self.lose(path, "a set", "a sorted list")
        converted = [self.inner(child, f"{path}.<items>[{at}]", depth) for at, child in enumerate(items)]
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
                self._tensors_beside.append(tuple(self._trail))
                return None
            raise Refused("a tensor among plain values: name its mapping with --state-path, or drop it")
        name = find_callee_name(node.func)
        if name is None:
            raise Refused("it is made by a computed call")
        array = read_array(node)
        if array is not None:
            return self._array(array, path)
        scalar = read_scalar(node)
        if scalar is not None:
            self.lose(path, f"a numpy {scalar[0]}", "a number")
            return self._value(scalar[1], path, depth)
        if name in _CLASS_FIRST and type(node.args) is tuple and node.args and find_class(node.args[0]) is not None:
            name = find_class(node.args[0]).full_name  # type: ignore[union-attr]
        known = KNOWN.get(name)
        if known is not None:
            return known(self, node, path, depth)
        if name.startswith("pathlib."):
            return convert_path(self, node, path)
        return self._unknown(node, name, path, depth)

    def _unknown(self, node: Call, name: str, path: str, depth: int) -> Json:
        judged = judge_call(node)
        args = node.args if type(node.args) is tuple else ()
        if judged.severity == "dangerous":
            raise Refused(f"{judged.why}: only dropping it is possible")
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
            return self.mapping(key_value_pairs(node) or [], path, depth)
        if judged.kind == "list subclass" and node.items is not None:
            self.lose(path, f"a {judged.name}", "a plain list")
            self._note_attributes(node, path)
            return [self.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(node.items)]
        if judged.kind.endswith(" subclass") and args:
            self.lose(path, f"a {judged.name}", "its plain value")
            return self._value(args[-1], path, depth)
        if judged.kind == "namedtuple":
            self.lose(path, f"a namedtuple {judged.name}", "a list (field names are not in the file)")
            return [self.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(args)]
        attributes = state_attributes(node)
        if judged.kind == "omegaconf" and attributes is not None:
            return self._omegaconf(node, path, depth)
        if judged.kind in ("object", "optimizer", "scheduler", "nn.Module") and attributes is not None:
            if not self._as_fields:
                self._refuse_parts(attributes, path, depth)
                raise Refused(f"an object of {judged.name}: pass --as-fields to keep its fields, or drop it")
            self.lose(path, f"an object of {judged.name}", "a dict of its fields")
            return {
                check_text(key): self.inner(value, path + format_step(("attr", key)), depth)
                for key, value in attributes
                if not self.is_dropped(path + format_step(("attr", key)))
            }
        if judged.severity == "incompatible" and judged.kind in ("torch value", "function", "class"):
            self.lose(path, f"a {judged.kind}", "text: its name")
            return judged.name
        raise Refused(f"{judged.kind} ({judged.name}), which no rule converts: drop it, or change the training script")

    def _refuse_parts(self, attributes: list[tuple[str, Node]], path: str, depth: int) -> None:
        """Collect what would be refused inside an object that is refused itself; nothing of it is kept yet."""
        losses = len(self.losses)
        for key, value in attributes:
            below = path + format_step(("attr", key))
            if below not in self._drop:
                self.inner(value, below, depth)
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
                return self.mapping(key_value_pairs(inside) or [], path, depth)
            if type(inside) is list:
                return [self.inner(child, f"{path}[{at}]", depth) for at, child in enumerate(inside)]
            return self._value(inside, path, depth)
        finally:
            self._configs -= 1

    def _note_attributes(self, node: Call, path: str) -> None:
        if node.states:
            self.lose(path, "attributes beside its items", "nothing")

    def _array(self, array: Any, path: str) -> Json:
        if array.is_object:
            raise Refused("a numpy array of objects")
        values = array.to_list(_MAX_LISTED)
        if values is None:
            raise Refused(f"a numpy array of more than {_MAX_LISTED} numbers, or of a dtype that no list holds")
        self.lose(path, f"a numpy array {array.dtype} {list(array.shape)}", "a list")
        return values  # type: ignore[no-any-return]


def _digits(number: int) -> str:
    if number.bit_length() > 4096:
        raise Refused("an integer too long to be kept")
    return str(number)
