"""The symbolic unpickler: one pass over a pickle that builds what it says and runs none of it.

All 68 opcodes are interpreted as Python's own unpickler does, on inert nodes. Beside the graph stands a flat log of
every import, call and state change in file order, with byte offsets: a call whose result is thrown away still runs in a
real unpickler, and an import alone is execution. Nothing is imported, hashed, compared or computed; every length is
checked against the data before it is used.

The loop is one long function on purpose: dispatch by a chain of comparisons in the order of frequency, with the memo
store that follows most opcodes done in the same turn, is what makes a million objects a matter of seconds.

Source: CPython `Lib/pickle.py` and `Modules/_pickle.c` for what an opcode does.
"""

from __future__ import annotations

__all__ = [
    "ADDITEM",
    "APPEND",
    "BUILD",
    "NOTE",
    "SETITEM",
    "Buffer",
    "Event",
    "Stream",
    "no_collections",
    "run_pickle",
]

import codecs
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import mmap
from struct import Struct
from struct import error as StructError
from typing import Any, TypeAlias

from ._limits import DEFAULT_LIMITS, Limits
from ._names import python3_name
from ._nodes import BigInt, ByteArray, Call, DictNode, Ext, Global, Node, OutOfBand, Persistent, SetNode, Unresolvable
from ._opcodes import OPCODES, opcode_name

BUILD, APPEND, SETITEM, ADDITEM, NOTE = range(5)
"""Kinds of log events that are no node. NOTE is the first use of an opcode outside the
common part of protocol 2; its node is the opcode byte."""

Buffer: TypeAlias = bytes | mmap
"""Where the opcodes are read from: both give an int for an index, bytes for a slice, and can `find`."""

Event: TypeAlias = Any
"""A Global, Unresolvable, Ext, Call or Persistent node, or a tuple of byte offset, kind and node for the other kinds.
APPEND, SETITEM and ADDITEM are logged only where the target is no plain container."""

_PLAIN_LIMIT = 1 << 16
"""Byte strings above this stay views into the file."""
_LONG_LIMIT = 1 << 10
"""Integers above this many bytes are not computed."""

_I4 = Struct("<i").unpack_from
_U4 = Struct("<I").unpack_from
_U2 = Struct("<H").unpack_from
_U8 = Struct("<Q").unpack_from
_F8 = Struct(">d").unpack_from


@dataclass(slots=True, kw_only=True)
class Stream:
    """What one pickle stream says: the graph, the log, and how far the reading came."""

    root: Node = None
    log: list[Event] = field(default_factory=list)
    protocol: int | None = None
    end: int = 0
    """Offset behind STOP, or where the reading stopped."""
    complete: bool = False
    """Whether STOP was reached."""
    problem: str | None = None
    problem_offset: int = 0
    limit: str | None = None
    notes: dict[int, list[int]] = field(default_factory=dict)
    """Opcode byte -> [first offset, count], for opcodes that protocol 2 does not write."""
    leftover: int = 0
    """Stack entries below the root at STOP."""


class _Malformed(Exception):
    """The stream cannot be read further; the text says why."""


class _LimitHit(Exception):
    """A bound was reached; the text names it."""


def run_pickle(data: Buffer, start: int = 0, limits: Limits = DEFAULT_LIMITS, *, stop: int | None = None) -> Stream:
    """Read one pickle stream symbolically.

    Args:
        data: The bytes that hold the stream; what follows its STOP is not looked at.
        start: Offset of its first opcode. Offsets in the answer count from the start of `data`.
        limits: Bounds of the reading.
        stop: Offset behind the last byte that belongs to the stream; the end of `data` where it is None.

    Returns:
        The stream. Its `problem` says why it could not be read to the end, if so; nothing is raised for that.
    """
    stream = Stream(end=start)
    with no_collections():
        _interpret(data, start, len(data) if stop is None else stop, limits, stream)
    return stream


@contextmanager
def no_collections() -> Iterator[None]:
    """Switch the cyclic collector off: it would walk millions of live nodes again and again, and none is garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _interpret(data: Buffer, start: int, size: int, limits: Limits, stream: Stream) -> None:
    log = stream.log
    event = log.append
    notes = stream.notes
    memo: dict[int, Node] = {}
    stack: list[Node] = []
    metastack: list[list[Node]] = []
    push = stack.append
    pos = op_pos = start
    max_marks = limits.marks
    first: dict[int, int] = {}
    short_strings = stack_globals = memoized = 0
    try:
        for _ in range(limits.opcodes):
            op_pos = pos
            op = data[pos]
            pos += 1
            if op == 0x4B:  # BININT1, often several in a row
                push(data[pos])
                pos += 1
                while data[pos] == 0x4B:
                    push(data[pos + 1])
                    pos += 2
                continue
            if op == 0x68:  # BINGET
                push(memo[data[pos]])
                pos += 1
                continue
            if op == 0x58:  # BINUNICODE
                end = pos + 4 + _U4(data, pos)[0]
                if end > size:
                    raise _Malformed("a string is longer than the stream")
                try:
                    push(data[pos + 4 : end].decode())
                except UnicodeDecodeError:
                    push(data[pos + 4 : end].decode("utf-8", "surrogatepass"))
                pos = end
            elif op == 0x28:  # MARK
                metastack.append(stack)
                stack = []
                push = stack.append
                if len(metastack) > max_marks:
                    raise _LimitHit(f"marks: more than {max_marks} open at once")
                continue
            elif op == 0x74:  # TUPLE
                items = tuple(stack)
                stack = metastack.pop()
                push = stack.append
                push(items)
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                stack[-1] = call = Call(stack[-1], args, op_pos, op)
                event(call)
            elif op == 0x6A:  # LONG_BINGET
                push(memo[_U4(data, pos)[0]])
                pos += 4
                continue
            elif op == 0x29:  # EMPTY_TUPLE
                push(())
                continue
            elif op == 0x51:  # BINPERSID
                stack[-1] = persistent = Persistent(stack[-1], op_pos)
                event(persistent)
                continue
            elif op == 0x85:  # TUPLE1
                stack[-1] = (stack[-1],)
            elif op == 0x89:  # NEWFALSE
                push(False)
                continue
            elif op == 0x7D:  # EMPTY_DICT
                push(DictNode())
            elif op == 0x86:  # TUPLE2
                second = stack.pop()
                stack[-1] = (stack[-1], second)
            elif op == 0x47:  # BINFLOAT
                push(_F8(data, pos)[0])
                pos += 8
                continue
            elif op == 0x8C:  # SHORT_BINUNICODE
                end = pos + 1 + data[pos]
                if end > size:
                    raise _Malformed("a string is longer than the stream")
                if not short_strings:
                    event((op_pos, NOTE, op))
                    first[op] = op_pos
                short_strings += 1
                push(data[pos + 1 : end].decode("utf-8", "surrogatepass"))
                pos = end
                if data[pos] == 0x94:  # MEMOIZE
                    op_pos = pos
                    op = 0x94
                    pos += 1
                else:
                    continue
            elif op == 0x4D:  # BININT2
                push(_U2(data, pos)[0])
                pos += 2
                continue
            elif op == 0x4A:  # BININT
                push(_I4(data, pos)[0])
                pos += 4
                continue
            elif op == 0x94:  # MEMOIZE
                pass
            elif op == 0x5D:  # EMPTY_LIST
                push([])
            elif op == 0x75:  # SETITEMS
                pairs = stack
                stack = metastack.pop()
                push = stack.append
                _set_items(stack[-1], pairs, op_pos, log)
                continue
            elif op == 0x4E:  # NONE
                push(None)
                continue
            elif op == 0x61:  # APPEND
                item = stack.pop()
                target = stack[-1]
                if type(target) is list:
                    target.append(item)
                else:
                    _append_items(target, [item], op_pos, log)
                continue
            elif op == 0x65:  # APPENDS
                several = stack
                stack = metastack.pop()
                push = stack.append
                target = stack[-1]
                if type(target) is list:
                    target.extend(several)
                else:
                    _append_items(target, several, op_pos, log)
                continue
            elif op == 0x73:  # SETITEM
                item = stack.pop()
                key = stack.pop()
                _set_items(stack[-1], [key, item], op_pos, log)
                continue
            elif op == 0x88:  # NEWTRUE
                push(True)
                continue
            elif op == 0x81:  # NEWOBJ
                args = stack.pop()
                stack[-1] = call = Call(stack[-1], args, op_pos, op)
                event(call)
            elif op == 0x62:  # BUILD
                state = stack.pop()
                target = stack[-1]
                if type(target) is Call:
                    target.add_state(state)
                event((op_pos, BUILD, (target, state)))
                continue
            elif op == 0x63:  # GLOBAL
                end = _line_end(data, pos, size)
                second_end = _line_end(data, end + 1, size)
                module = data[pos:end].decode()
                name = data[end + 1 : second_end].decode()
                found = Global(*python3_name(module, name), op_pos, f"{module}.{name}")
                push(found)
                event(found)
                pos = second_end + 1
            elif op == 0x87:  # TUPLE3
                third = stack.pop()
                second = stack.pop()
                stack[-1] = (stack[-1], second, third)
            elif op == 0x93:  # STACK_GLOBAL
                name_node = stack.pop()
                module_node = stack[-1]
                if not stack_globals:
                    event((op_pos, NOTE, op))
                    first[op] = op_pos
                stack_globals += 1
                if type(name_node) is str and type(module_node) is str:
                    spelled = f"{module_node}.{name_node}"
                    stack[-1] = found = Global(*python3_name(module_node, name_node), op_pos, spelled)
                    event(found)
                else:
                    stack[-1] = unresolvable = Unresolvable(module_node, name_node, op_pos)
                    event(unresolvable)
            elif op == 0x72:  # LONG_BINPUT
                memo[_U4(data, pos)[0]] = stack[-1]
                pos += 4
                continue
            elif op == 0x71:  # BINPUT
                memo[data[pos]] = stack[-1]
                pos += 1
                continue
            elif op == 0x2E:  # STOP
                stream.root = stack.pop()
                stream.leftover = len(stack) + sum(len(below) for below in metastack)
                stream.complete = True
                break
            elif op == 0x80:  # PROTO
                protocol = data[pos]
                pos += 1
                if protocol > 5:
                    raise _Malformed(f"protocol {protocol} does not exist")
                if stream.protocol is None:
                    stream.protocol = protocol
                continue
            elif op == 0x8A:  # LONG1
                length = data[pos]
                if pos + 1 + length > size:
                    raise _Malformed("an integer is longer than the stream")
                push(int.from_bytes(data[pos + 1 : pos + 1 + length], "little", signed=True))
                pos += 1 + length
            elif op == 0x55:  # SHORT_BINSTRING
                end = pos + 1 + data[pos]
                if end > size:
                    raise _Malformed("a string is longer than the stream")
                push(_decode_bytestring(data[pos + 1 : end], op_pos, op, notes, log))
                pos = end
            else:
                note = notes.get(op)
                if note is None:
                    if op not in OPCODES:
                        raise _Malformed(f"byte 0x{op:02x} is no pickle opcode")
                    notes[op] = [op_pos, 1]
                    event((op_pos, NOTE, op))
                else:
                    note[1] += 1
                # Rare opcodes: protocols 0, 1, 3, 4, 5 and hand-made streams.
                if op == 0x95:  # FRAME
                    _U8(data, pos)  # readers differ in how strictly they take a frame's length: see what any would see
                    pos += 8
                    continue
                if op == 0x43:  # SHORT_BINBYTES
                    end = pos + 1 + data[pos]
                    if end > size:
                        raise _Malformed("a byte string is longer than the stream")
                    push(data[pos + 1 : end])
                    pos = end
                elif op == 0x42 or op == 0x8E or op == 0x96:  # BINBYTES, BINBYTES8, BYTEARRAY8
                    begin = pos + (4 if op == 0x42 else 8)
                    end = begin + (_U4(data, pos)[0] if op == 0x42 else _U8(data, pos)[0])
                    if end > size:
                        raise _Malformed("a byte string is longer than the stream")
                    blob = data[begin:end] if end - begin <= _PLAIN_LIMIT else memoryview(data)[begin:end]
                    push(ByteArray(blob) if op == 0x96 else blob)
                    pos = end
                elif op == 0x8D:  # BINUNICODE8
                    end = pos + 8 + _U8(data, pos)[0]
                    if end > size:
                        raise _Malformed("a string is longer than the stream")
                    push(data[pos + 8 : end].decode("utf-8", "surrogatepass"))
                    pos = end
                elif op == 0x8F:  # EMPTY_SET
                    push(SetNode([], False))
                elif op == 0x90:  # ADDITEMS
                    several = stack
                    stack = metastack.pop()
                    push = stack.append
                    _add_items(stack[-1], several, op_pos, log)
                    continue
                elif op == 0x91:  # FROZENSET
                    frozen = SetNode(stack, True)
                    stack = metastack.pop()
                    push = stack.append
                    push(frozen)
                elif op == 0x92:  # NEWOBJ_EX
                    kwargs = stack.pop()
                    args = stack.pop()
                    stack[-1] = call = Call(stack[-1], args, op_pos, op)
                    call.set_kwargs(kwargs)
                    event(call)
                elif op == 0x8B:  # LONG4
                    length = _I4(data, pos)[0]
                    if length < 0 or pos + 4 + length > size:
                        raise _Malformed("an integer is longer than the stream")
                    if length > _LONG_LIMIT:
                        push(BigInt(length))
                    else:
                        push(int.from_bytes(data[pos + 4 : pos + 4 + length], "little", signed=True))
                    pos += 4 + length
                elif op == 0x54:  # BINSTRING
                    length = _I4(data, pos)[0]
                    if length < 0 or pos + 4 + length > size:
                        raise _Malformed("a string is longer than the stream")
                    push(_decode_bytestring(data[pos + 4 : pos + 4 + length], op_pos, op, notes, log))
                    pos += 4 + length
                elif op == 0x30:  # POP
                    if stack:
                        stack.pop()
                    else:
                        stack = metastack.pop()
                        push = stack.append
                    continue
                elif op == 0x31:  # POP_MARK
                    stack = metastack.pop()
                    push = stack.append
                    continue
                elif op == 0x32:  # DUP
                    push(stack[-1])
                    continue
                elif op == 0x64:  # DICT
                    made = DictNode()
                    if len(stack) % 2:
                        raise _Malformed("a dict has a key without a value")
                    made.extend(stack)
                    stack = metastack.pop()
                    push = stack.append
                    push(made)
                elif op == 0x6C:  # LIST
                    listed = stack
                    stack = metastack.pop()
                    push = stack.append
                    push(listed)
                elif op == 0x69:  # INST
                    end = _line_end(data, pos, size)
                    second_end = _line_end(data, end + 1, size)
                    module = data[pos:end].decode()
                    name = data[end + 1 : second_end].decode()
                    found = Global(*python3_name(module, name), op_pos, f"{module}.{name}")
                    event(found)
                    call = Call(found, tuple(stack), op_pos, op)
                    stack = metastack.pop()
                    push = stack.append
                    push(call)
                    event(call)
                    pos = second_end + 1
                elif op == 0x6F:  # OBJ
                    if not stack:
                        raise _Malformed("OBJ without a class")
                    call = Call(stack[0], tuple(stack[1:]), op_pos, op)
                    stack = metastack.pop()
                    push = stack.append
                    push(call)
                    event(call)
                elif op in _LINES:
                    end = _line_end(data, pos, size)
                    line = data[pos:end]
                    pos = end + 1
                    if op == 0x70:  # PUT
                        memo[_parse_index(line)] = stack[-1]
                    elif op == 0x67:  # GET
                        push(memo[_parse_index(line)])
                    elif op == 0x50:  # PERSID
                        persistent = Persistent(line.decode("ascii"), op_pos)
                        push(persistent)
                        event(persistent)
                    else:
                        push(_parse_line(op, line))
                    continue
                elif op == 0x82 or op == 0x83 or op == 0x84:  # EXT1, EXT2, EXT4
                    width = 1 << (op - 0x82)
                    if pos + width > size:
                        raise _Malformed("an extension code is cut off")
                    ext = Ext(int.from_bytes(data[pos : pos + width], "little", signed=width == 4), op_pos)
                    if ext.code <= 0:
                        raise _Malformed(f"extension code {ext.code} does not exist")
                    push(ext)
                    event(ext)
                    pos += width
                elif op == 0x97:  # NEXT_BUFFER
                    push(OutOfBand(op_pos))
                elif op == 0x98:  # READONLY_BUFFER
                    if not stack:
                        raise _Malformed("the stack is empty")
                    continue
            # Most values are stored in the memo right after they are made: save a turn of the loop.
            if op == 0x94:
                memo[len(memo)] = stack[-1]
                if not memoized:
                    event((op_pos, NOTE, op))
                    first[op] = op_pos
                memoized += 1
                continue
            op = data[pos]
            if op == 0x72:  # LONG_BINPUT
                memo[_U4(data, pos + 1)[0]] = stack[-1]
                pos += 5
            elif op == 0x71:  # BINPUT
                memo[data[pos + 1]] = stack[-1]
                pos += 2
        else:
            raise _LimitHit(f"opcodes: stopped after {limits.opcodes}")
    except _LimitHit as hit:
        stream.limit = str(hit)
        stream.problem_offset = op_pos
    except _Malformed as problem:
        stream.problem = str(problem)
        stream.problem_offset = op_pos
    except (IndexError, KeyError, StructError, UnicodeDecodeError) as error:
        stream.problem_offset = op_pos
        stream.problem = _explain(error, data, pos, op_pos)
    if stream.complete and pos > size:
        stream.complete, stream.problem = False, "the stream ends before its STOP"
    stream.end = pos
    for code, count in ((0x8C, short_strings), (0x93, stack_globals), (0x94, memoized)):
        if count:
            notes[code] = [first[code], count]


_LINES = frozenset(b"FILSVPpg")
"""Opcodes whose argument is a line of text; V is UNICODE."""


_UNHASHABLE = frozenset({list, DictNode, ByteArray})


def _set_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    if len(items) % 2:
        raise _Malformed("a dict has a key without a value")
    kind = type(target)
    if kind is DictNode:
        if not _UNHASHABLE.isdisjoint(map(type, items[::2])):
            raise _Malformed("a dict key is a list or a dict")  # every unpickler stops here
        target.extend(items)
        return
    log.append((offset, SETITEM, target))
    if kind is Call:
        target.add_pairs(items)


def _append_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    log.append((offset, APPEND, target))
    if type(target) is Call:
        target.add_items(items)


def _add_items(target: Node, items: list[Node], offset: int, log: list[Event]) -> None:
    if type(target) is SetNode and not target.frozen:
        target.extend(items)
        return
    log.append((offset, ADDITEM, target))
    if type(target) is Call:
        target.add_items(items)


def _line_end(data: Buffer, pos: int, size: int) -> int:
    """The offset behind a line's text: its line feed, or the last byte of the stream, which readers cut off unseen."""
    end = data.find(b"\n", pos, size)
    return end if end >= 0 else max(pos, size - 1)


def _parse_index(line: bytes) -> int:
    try:
        index = int(line[:4000])
    except ValueError:
        index = -1
    if index < 0 or len(line) > 4000:
        raise _Malformed("a memo index is not a number")
    return index


def _decode_bytestring(raw: bytes, offset: int, op: int, notes: dict[int, list[int]], log: list[Event]) -> Node:
    """A Python 2 byte string: text in torch's reading (UTF-8), else kept as bytes and noted."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if op == 0x55:  # torch knows SHORT_BINSTRING but refuses this content
            log.append((offset, NOTE, -op))
            notes.setdefault(-op, [offset, 0])[1] += 1
        return raw


def _parse_line(op: int, line: bytes) -> Node:
    """The value of a text opcode: INT, LONG, FLOAT, STRING, UNICODE."""
    try:
        if op == 0x49:  # INT, where 00 and 01 are the booleans of protocol 1
            if line in (b"00", b"01"):
                return line == b"01"
            return int(line, 0) if len(line) <= 2 * _LONG_LIMIT else BigInt(len(line))
        if op == 0x4C:  # LONG
            digits = line[:-1] if line.endswith(b"L") else line
            return int(digits, 0) if len(digits) <= 2 * _LONG_LIMIT else BigInt(len(digits))
        if op == 0x46:  # FLOAT
            return float(line)
        if op == 0x53:  # STRING
            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
                raise _Malformed("a quoted string does not end")
            raw = codecs.escape_decode(line[1:-1])[0]
            try:
                return raw.decode("utf-8")
            except UnicodeDecodeError:
                return raw
        return str(line, "raw-unicode-escape")
    except (ValueError, UnicodeError) as error:
        raise _Malformed(f"a {opcode_name(op)} argument cannot be read") from error


def _explain(error: Exception, data: Buffer, pos: int, op_pos: int) -> str:
    """Why the loop fell out of the data, the stack or the memo."""
    if isinstance(error, KeyError):
        return f"memo entry {error.args[0]!r} was never stored"
    if isinstance(error, UnicodeDecodeError):
        return "a string is not UTF-8"
    if isinstance(error, StructError) or pos >= len(data):
        return "the stream ends before its STOP"
    return f"{opcode_name(data[op_pos])} takes more from the stack than there is"
