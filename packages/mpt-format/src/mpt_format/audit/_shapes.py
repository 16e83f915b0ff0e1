"""Runs of opcodes that checkpoints repeat, read in one step instead of one turn of the loop per opcode.

A state dict is the same thirty opcodes again and again: a name and a dense tensor, from the MARK of its arguments to
the REDUCE that rebuilds it. Where the loop meets what may begin such a run, `read_tensors` looks whether the bytes are
exactly it, and does what the loop would have done with them. Otherwise it answers 0, has changed nothing, and the loop
goes on as always: a shape is never a reason to refuse, and it is no second opinion about what a pickle means.

Picklers count their memo entries one after the other, and a tensor stores several. Their PUTs are compared all at once,
as the digits of one long number: those of a tensor at the memo's start plus a multiple of how far the memo has come.
What the GETs of a tensor give is judged once and remembered until a memo entry is stored anew. The pattern cannot
backtrack far: alternatives begin with different bytes, and repetitions are possessive, but for the letters of a name or
a location, whose last ones may be the opcodes behind it.

Other runs do not pay: calls of two values inside a call, as protocol 2 writes dates, gave 8 % of a list of dates and
nothing elsewhere; dicts of one module's version gave 1.5 % of a state dict.
"""

from __future__ import annotations

__all__ = ["ShapeFacts", "read_tensors"]

import re
from bisect import bisect_right
from collections.abc import Callable
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
_GET = rb"(?:h.|j....)"
_PUT = rb"(q.|r....)"
_ENTRY = (
    rb"(?:(?:(" + _GET + rb")|X(.)\0\0\0([!-~]{1,250})" + _PUT + rb")?(" + _GET + rb"))?+"  # key and function
    + rb"\(\((" + _GET + _GET + rb")X(.)\0\0\0([0-9]{1,9}+)" + _PUT  # two MARKs, "storage", its class, its key
    + rb"(?:(" + _GET + rb")|(X.\0\0\0[a-z]{1,15}(?::[0-9]{1,3}+)?+)" + _PUT + rb")"  # location
    + rb"(" + _INTEGER + rb")(N?+)t" + _PUT + rb"Q"  # number of elements, view of a legacy file, BINPERSID
    + rb"(" + _INTEGER + rb")(?:" + _SIZES + _PUT + rb"|\))(?:" + _SIZES + _PUT + rb"|\))"  # offset, shape, stride
    + rb"\x89(" + _GET + rb")\)(R(?:q.tq.Rq.|r....tr....Rr....))"  # requires_grad, OrderedDict(), the call
)  # fmt: skip
_I4 = Struct("<i").unpack_from
_U4 = Struct("<I").unpack_from
_U2 = Struct("<H").unpack_from


@cache
def _compile_entry() -> re.Pattern[bytes]:
    return re.compile(_ENTRY, re.DOTALL)  # takes half a millisecond, which a file without tensors need not


class Fit(NamedTuple):
    """A dense tensor that lies in its storage."""

    length: int
    """Number of elements of the storage."""
    begin: int
    shape: list[int]
    stride: list[int]


class _Fits(dict[tuple[bytes, bytes, bytes, bytes], Fit]):
    """Number of elements, first element, shape and stride as they stand in the stream -> the same as numbers.

    There is no entry for what is no shape, a stride that does not fit it, or a tensor that leaves its storage.
    """

    def __missing__(self, raw: tuple[bytes, bytes, bytes, bytes]) -> Fit:
        (length,), (begin,), shape, stride = map(_read_integers, raw)
        if len(shape) != len(stride) or min([begin, *shape, *stride]) < 0:
            raise KeyError(raw)
        reach = find_reach(shape, stride)
        if reach is not None and begin + reach >= length:
            raise KeyError(raw)
        self[raw] = fit = Fit(length, begin, shape, stride)
        return fit


class Parts(NamedTuple):
    """The nodes that a tensor takes from the memo."""

    rebuild: Node
    kind: Node
    location: Node
    """None where it stands in the tensor itself."""
    hooks: Node


class TensorSource(NamedTuple):
    """What a tensor's arguments are made of."""

    parts: Parts
    fit: Fit
    key: bytes
    location: bytes
    """BINUNICODE, where it stands in the tensor itself."""
    view: bytes
    stored: int
    """Offset of BINPERSID."""
    hooked: int
    """Offset of the REDUCE of OrderedDict."""

    def make_arguments(self) -> tuple[Node, ...]:
        """The arguments, as the loop would have made them."""
        location = self.location[5:].decode() if self.location else self.parts.location
        pid: tuple[Node, ...] = ("storage", self.parts.kind, self.key.decode(), location, self.fit.length)
        storage = make_persistent((*pid, None) if self.view else pid, self.stored)
        hooks = make_call(self.parts.hooks, (), self.hooked, 0x52)
        return storage, self.fit.begin, tuple(self.fit.shape), tuple(self.fit.stride), False, hooks


class ShapeFacts:
    """What the tensors of one stream have in common, each read or judged once: keys are bytes of the stream."""

    __slots__ = ("fits", "match", "parts", "starts", "view")

    def __init__(self) -> None:
        self.match = _compile_entry().match
        self.fits = _Fits()
        self.parts: dict[tuple[bytes, ...], Parts] = {}
        """The GETs of a tensor -> what they give. Cleared when an entry of the memo is stored anew."""
        self.view: bytes | None = None
        """Whether storages are named with a view, as in legacy files: the same for all tensors."""
        self.starts: list[int] = []
        """For each tensor of the stream: the memo index of the first node that stands in it."""

    def learn(self, gets: tuple[bytes, ...], memo: list[Node], stack: list[Node]) -> Parts:
        """What the GETs of a tensor give, if every torch version lets a tensor be made of that.

        Raises:
            LookupError: There is no such entry, or it is something else.
        """
        rebuild, words, place, location, hook = gets
        word, kind = _READ_GETS.findall(words)
        parts = Parts(
            rebuild=memo[_read_get(rebuild)] if rebuild else stack[-1],
            kind=memo[_read_get(kind)],
            location=memo[_read_get(place)] if place else None,
            hooks=memo[_read_get(hook)],
        )
        if memo[_read_get(word)] != "storage" or parts.location is LATER:
            raise LookupError
        if location and location[1] + 5 != len(location):
            raise LookupError
        if not _are_plain(parts.rebuild, parts.kind, parts.hooks):
            raise LookupError
        self.parts[gets] = parts
        return parts

    def fill_memo(self, reading: Reading, index: int) -> Node:
        """Make the arguments of the tensor that the memo entry belongs to, keep them in the memo, and give that one."""
        at = bisect_right(self.starts, index) - 1
        start, tensor = self.starts[at], reading.stream.tensors[at]
        has_location = bool(tensor.source.location)
        storage, _, sizes, steps, _, hooks = args = tensor.args
        pid = storage.pid
        inner = [pid[2], pid[3]] if has_location else [pid[2]]
        inner += [part for part in (pid, sizes, steps) if part]  # an empty tuple has no PUT
        for entry, node in enumerate([*inner, hooks, args], start):
            if reading.memo[entry] is LATER:  # it may have been stored anew since
                reading.memo[entry] = node
        return reading.memo[index]


def _spell_puts(inner: int, spell: Callable[[int], bytes]) -> tuple[int, tuple[int, int, tuple[Node, ...]]]:
    """The length of so many PUTs and the end of a tensor.

    And their bytes at the memo's start as one number, what each earlier memo entry adds to it, and their holes.
    """
    spelled, places = b"", []
    for at in range(inner + 3):
        spelled += (b"R", b"t", b"R")[at - inner] if at >= inner else b""
        places.append(len(spelled) + 1)
        spelled += spell(at)
    step = sum(1 << 8 * place for place in places)
    return len(spelled), (int.from_bytes(spelled, "little"), step, (LATER,) * (inner + 2))


_PUTS = dict(
    _spell_puts(inner, spell)
    for spell in (lambda at: b"q" + bytes([at]), lambda at: b"r" + at.to_bytes(4, "little"))
    for inner in range(2, 8)
)
_NO_PUTS = -1, 0, ()
_new_tuple = tuple.__new__
"""NamedTuple's own constructor is a Python function, and takes as long as a tenth of a tensor."""


def read_tensors(reading: Reading, memo: list[Node], stack: list[Node], pos: int) -> int:
    """Read the arguments and the REDUCE of a tensor that `_rebuild_tensor_v2` makes, and the entries that follow it.

    An entry is a key, the function and the arguments of another tensor. Only what every torch version takes is read,
    without gradient and within its storage. A tensor is kept in `Stream.tensors` and not in the log, which its three
    events would fill; and its arguments are made when they are asked for, which is of most tensors never. Their places
    in the memo hold `LATER` until then.

    Args:
        reading: The state of the loop.
        memo: Its memo, which counts from zero.
        stack: The stack without what the MARK at `pos` opens. Its last node becomes the tensor.
        pos: Offset of the first of two MARKs.

    Returns:
        The offset behind the last PUT; 0, with nothing changed, where anything else stands here.
    """
    facts = reading.facts
    if facts is None:
        facts = reading.facts = ShapeFacts()
    data, size, stream = reading.data, reading.size, reading.stream
    match, fits, known, storages = facts.match, facts.fits, facts.parts, stream.storages
    end = 0
    while True:
        found = match(data, end or pos, size)
        if found is None:
            return end
        (
            name_get, name_length, name, put_name, rebuild_get, words, length, key, put_key, place, location,
            put_location, elements, view, put_id, offset, shape, put_shape, stride, put_stride, hook, tail,
        ) = found.groups(b"")  # fmt: skip
        start = len(memo)
        puts = b"".join((put_name, put_key, put_location, put_id, put_shape, put_stride, tail))
        first, step, holes = _PUTS.get(len(puts), _NO_PUTS)
        if int.from_bytes(puts, "little") != first + start * step or length[0] != len(key):
            return end
        gets = rebuild_get, words, place, location, hook
        try:
            parts = known.get(gets)
            if parts is None or (not rebuild_get and parts[0] is not stack[-1]):
                parts = facts.learn(gets, memo, stack)
            fit = fits[elements, offset, shape, stride]
            named: Node = memo[_read_get(name_get)] if name_get else name.decode()
        except LookupError:
            return end  # the loop says what is missing
        if named is LATER or (name and name_length[0] != len(name)):
            return end
        if view != facts.view:
            if facts.view is not None:
                return end
            facts.view = view
            stream.tensor_fields = 6 if view else 5
        end = found.end()
        stored = found.end(15)
        tensor = TensorCall()
        tensor.func = parts[0]
        tensor.offset = end - (3 if tail[1] == 0x71 else 6)
        tensor.op = 0x52
        tensor.more = None
        tensor.source = _new_tuple(TensorSource, (parts, fit, key, location, view, stored, found.start(22)))
        memo += holes
        memo.append(tensor)
        if name:
            memo[start] = named
            start += 1
        if rebuild_get:
            if name_get or name:
                stack.append(named)
            stack.append(tensor)
        else:
            stack[-1] = tensor
        facts.starts.append(start)
        stream.tensors.append(tensor)
        text = key.decode()
        if text not in storages:
            storages[text] = _new_tuple(StorageUse, (parts[1], fit[0], stored))


_READ_GETS = re.compile(_GET, re.DOTALL)


def _read_get(raw: bytes) -> int:
    """The memo index of a BINGET or LONG_BINGET."""
    return raw[1] if raw[0] == 0x68 else int(_U4(raw, 1)[0])


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
