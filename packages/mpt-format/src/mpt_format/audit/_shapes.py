"""Runs of opcodes that checkpoints repeat, read in one step instead of one turn of the loop per opcode.

A state dict is the same thirty opcodes again and again: a dense tensor, from the MARK of its arguments to the REDUCE
that rebuilds it. Where the loop meets what may begin such a run, `read_tensor` looks whether the bytes are exactly it,
and does what the loop would have done with them. Otherwise it answers 0, has changed nothing, and the loop goes on as
always: a shape is never a reason to refuse, and it is no second opinion about what a pickle means.

Picklers count their memo entries one after the other, and a tensor stores several. Their numbers are compared all at
once, as the digits of one long number: that of a tensor at the memo's start plus a multiple of how far the memo has
come. The pattern cannot backtrack far: alternatives begin with different bytes, and repetitions are possessive, but for
the fifteen letters of a location, whose last one may be the opcode behind it.

Other runs do not pay: calls of two values inside a call, as protocol 2 writes dates, gave 8 % of a list of dates and
nothing elsewhere; dicts of one module's version gave 1.5 % of a state dict.
"""

from __future__ import annotations

__all__ = ["ShapeFacts", "read_tensor"]

import re
from bisect import bisect_right
from functools import cache
from struct import Struct
from typing import NamedTuple

from ._nodes import LATER, Global, Node, StorageUse, TensorCall, make_call, make_persistent
from ._stream import Reading
from ._summary import is_plain_storage_class
from ._tensors import find_reach

_INTEGER = rb"(?:K.|M..|J....)"
_SIZES = (
    rb"(\((?:" + _INTEGER + rb"){4,64}+t|" + _INTEGER + rb"(?:\x85|" + _INTEGER + rb"(?:\x86|" + _INTEGER + rb"\x87)))"
)
_GET = rb"(h.|j....)"
_PUT = rb"r(....)"
_TENSOR = (
    rb"\(\(" + _GET + _GET + rb"X(.)\0\0\0([0-9]{1,9}+)" + _PUT  # two MARKs, "storage", its class, its key
    + rb"(?:" + _GET + rb"|(X.\0\0\0[a-z]{1,15}(?::[0-9]{1,3}+)?+)" + _PUT + rb")"  # location
    + rb"(" + _INTEGER + rb")(N?+)t" + _PUT + rb"Q"  # number of elements, view of a legacy file, BINPERSID
    + rb"(" + _INTEGER + rb")(?:" + _SIZES + _PUT + rb"|\))(?:" + _SIZES + _PUT + rb"|\))"  # offset, shape, stride
    + rb"\x89" + _GET + rb"\)(Rr....tr....Rr....)"  # requires_grad, OrderedDict() ) _rebuild_tensor_v2(...)
)  # fmt: skip
_I4 = Struct("<i").unpack_from
_U4 = Struct("<I").unpack_from
_U2 = Struct("<H").unpack_from


@cache
def _compile_tensor() -> re.Pattern[bytes]:
    return re.compile(_TENSOR, re.DOTALL)  # takes half a millisecond, which a file without tensors need not


class _Indexes(dict[bytes, int]):
    """GET as it stands in the stream -> memo index."""

    def __missing__(self, raw: bytes) -> int:
        self[raw] = index = raw[1] if raw[0] == 0x68 else int(_U4(raw, 1)[0])
        return index


class _Integers(dict[bytes, int]):
    """BININT1, BININT2 or BININT -> the number."""

    def __missing__(self, raw: bytes) -> int:
        self[raw] = number = _read_integers(raw)[0]
        return number


class _Locations(dict[bytes, str]):
    """BINUNICODE -> the text; none for one whose length is another than what the pattern took for its text."""

    def __missing__(self, raw: bytes) -> str:
        if raw[1] != len(raw) - 5:
            raise KeyError(raw)
        self[raw] = text = raw[5:].decode()
        return text


class _Sizes(dict[tuple[bytes, bytes], tuple[list[int], list[int], "int | None"]]):
    """Shape and stride -> the same as numbers, and how far behind the first element the last one lies, if there is.

    There is no entry for what is no shape, or a stride that does not fit it.
    """

    def __missing__(self, raw: tuple[bytes, bytes]) -> tuple[list[int], list[int], int | None]:
        shape, stride = _read_integers(raw[0]), _read_integers(raw[1])
        if len(shape) != len(stride) or min([*shape, *stride], default=0) < 0:
            raise KeyError(raw)
        self[raw] = sizes = shape, stride, find_reach(shape, stride)
        return sizes


class TensorSource(NamedTuple):
    """What a tensor's arguments are made of: nodes and the bytes between them."""

    facts: ShapeFacts
    kind: Node
    key: str
    location: Node
    location_get: bytes
    """Empty where the location stands in the tensor itself, with a PUT."""
    length: int
    view: bytes
    stored: int
    """Offset of BINPERSID."""
    begin: int
    shape: bytes
    stride: bytes
    hooks: Node

    def make_arguments(self, offset: int) -> tuple[Node, ...]:
        """The arguments of the tensor whose REDUCE stands at `offset`, as the loop would have made them."""
        pid: tuple[Node, ...] = ("storage", self.kind, self.key, self.location, self.length)
        storage = make_persistent((*pid, None) if self.view else pid, self.stored)
        sizes, steps, _ = self.facts.sizes[self.shape, self.stride]
        hooks = make_call(self.hooks, (), offset - 12, 0x52)
        return storage, self.begin, tuple(sizes), tuple(steps), False, hooks


class ShapeFacts:
    """What the tensors of one stream have in common, each read or judged once: keys are bytes of the stream."""

    __slots__ = ("hooks", "indexes", "integers", "kind", "locations", "match", "rebuild", "sizes", "starts")

    def __init__(self) -> None:
        self.match = _compile_tensor().match
        self.indexes = _Indexes()
        self.integers = _Integers()
        self.locations = _Locations()
        self.sizes = _Sizes()
        self.rebuild: Node = None
        self.kind: Node = None
        self.hooks: Node = None
        self.starts: list[int] = []
        """For each tensor of the stream: the memo index of the first node that stands in it."""

    def fill_memo(self, reading: Reading, index: int) -> Node:
        """Make the arguments of the tensor that the memo entry belongs to, keep them in the memo, and give that one."""
        at = bisect_right(self.starts, index) - 1
        start, tensor = self.starts[at], reading.stream.tensors[at]
        location_get = tensor.source.location_get
        storage, _, sizes, steps, _, hooks = args = tensor.args
        pid = storage.pid
        inner = [pid[2]] if location_get else [pid[2], pid[3]]
        inner += [part for part in (pid, sizes, steps) if part]  # an empty tuple has no PUT
        for entry, node in enumerate([*inner, hooks, args], start):
            if reading.memo[entry] is LATER:  # it may have been stored anew since
                reading.memo[entry] = node
        return reading.memo[index]


def _spell_puts(inner: int) -> tuple[int, int]:
    """The numbers of so many PUTs and the end of a tensor, as one number, and what each earlier memo entry adds."""
    spelled = b"".join(at.to_bytes(4, "little") for at in range(inner))
    places = [4 * at for at in range(inner)]
    for at in range(3):
        places.append(len(spelled) + 2)
        spelled += b"RtR"[at : at + 1] + b"r" + (inner + at).to_bytes(4, "little")
    return int.from_bytes(spelled, "little"), sum(1 << 8 * place for place in places)


_PUTS = {4 * inner + 18: _spell_puts(inner) for inner in range(2, 6)}
_FIRST_LONG_PUT = 256
_new_tuple = tuple.__new__
"""NamedTuple's own constructor is a Python function, and takes as long as a tenth of a tensor."""


def read_tensor(reading: Reading, memo: list[Node], below: list[Node], pos: int) -> int:
    """Read the arguments and the REDUCE of a tensor that `_rebuild_tensor_v2` makes, if they stand here.

    Only what every torch version takes is read, without gradient and within its storage. The tensor is kept in
    `Stream.tensors` and not in the log, which its three events would fill; and its arguments are made when they are
    asked for, which is of most tensors never. Their places in the memo hold `LATER` until then.

    Args:
        reading: The state of the loop.
        memo: Its memo, which counts from zero.
        below: The stack without what the MARK at `pos` opens. Its last node becomes the tensor.
        pos: Offset of the first of two MARKs.

    Returns:
        The offset behind the last PUT; 0, with nothing changed, where anything else stands here.
    """
    facts = reading.facts
    if facts is None:
        facts = reading.facts = ShapeFacts()
    found = facts.match(reading.data, pos, reading.size)
    if found is None:
        return 0
    (
        word, kind, length, key, put_key, place, location, put_location, elements, view, put_id, offset,
        shape, put_shape, stride, put_stride, hook, tail,
    ) = found.groups(b"")  # fmt: skip
    indexes, integers = facts.indexes, facts.integers
    start = len(memo)
    puts = b"".join((put_key, put_location, put_id, put_shape, put_stride, tail))
    first, step = _PUTS[len(puts)]
    if int.from_bytes(puts, "little") != first + start * step or start < _FIRST_LONG_PUT or length[0] != len(key):
        return 0
    try:
        rebuild = below[-1]
        storage_class = memo[indexes[kind]]
        hooks_class = memo[indexes[hook]]
        placed = memo[indexes[place]] if place else facts.locations[location]
        reach = facts.sizes[shape, stride][2]
        begin = integers[offset]
        count = integers[elements]
        if memo[indexes[word]] != "storage" or placed is LATER:
            return 0
    except LookupError:
        return 0  # the loop says what is missing
    if begin < 0 or (reach is not None and begin + reach >= count):
        return 0
    if rebuild is not facts.rebuild or storage_class is not facts.kind or hooks_class is not facts.hooks:
        if not _are_plain(rebuild, storage_class, hooks_class):
            return 0
        facts.rebuild, facts.kind, facts.hooks = rebuild, storage_class, hooks_class
    stream = reading.stream
    fields = 6 if view else 5
    if fields != stream.tensor_fields:
        if stream.tensors:
            return 0
        stream.tensor_fields = fields
    end: int = found.end()
    name = key.decode()
    tensor = TensorCall()
    tensor.func = rebuild
    tensor.offset = end - 6
    tensor.op = 0x52
    tensor.more = None
    stored = found.end(11)
    source = facts, storage_class, name, placed, place, count, view, stored, begin, shape, stride, hooks_class
    tensor.source = _new_tuple(TensorSource, source)
    memo += _HOLES[len(puts)]
    memo.append(tensor)
    facts.starts.append(start)
    stream.tensors.append(tensor)
    if name not in stream.storages:
        stream.storages[name] = _new_tuple(StorageUse, (storage_class, count, stored))
    below[-1] = tensor
    return end


_HOLES = {length: (LATER,) * (2 + (length - 18) // 4) for length in _PUTS}


def _read_integers(raw: bytes) -> list[int]:
    """The integers in a run of BININT1, BININT2 and BININT, which may stand between a MARK and one of the TUPLEs."""
    found = []
    at = 1 if raw[:1] == b"(" else 0
    while at < len(raw):
        op = raw[at]
        if op == 0x4B:
            found.append(raw[at + 1])
            at += 2
        elif op == 0x4D:
            found.append(_U2(raw, at + 1)[0])
            at += 3
        elif op == 0x4A:
            found.append(_I4(raw, at + 1)[0])
            at += 5
        else:
            break
    return found


def _are_plain(rebuild: Node, storage_class: Node, hooks_class: Node) -> bool:
    """Whether these are the three names that every torch version lets a tensor be made of."""
    return (
        type(rebuild) is Global
        and rebuild.full_name == "torch._utils._rebuild_tensor_v2"
        and type(storage_class) is Global
        and is_plain_storage_class(storage_class.full_name)
        and type(hooks_class) is Global
        and hooks_class.full_name == "collections.OrderedDict"
    )
