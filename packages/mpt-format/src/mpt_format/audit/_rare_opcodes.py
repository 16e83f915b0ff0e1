"""The opcodes that a checkpoint seldom holds: protocols 0, 1, 3 and 5, and what only a hand-made stream uses.

One function per opcode, found by its byte in `RARE`. Each is given the state, the stack above the last MARK and the
offset of its opcode byte, and answers with the stack and the offset behind its argument. A stack, memo or stream that
is too short shows as IndexError, KeyError or struct.error, which the loop explains.

Source: CPython `Lib/pickle.py` and `Modules/_pickle.c` for what an opcode does.
"""

from __future__ import annotations

__all__ = ["RARE", "run_rare"]

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

from ._changes import add_items
from ._literals import LONG_LIMIT, decode_bytestring, find_line_end, parse_index, parse_line
from ._names import python3_name
from ._nodes import (
    BigInt,
    ByteArray,
    DictNode,
    Ext,
    Global,
    Node,
    OutOfBand,
    SetNode,
    make_call,
    make_persistent,
)
from ._opcodes import OPCODES
from ._stream import Malformed, Reading

Stack: TypeAlias = list[Node]
Step: TypeAlias = tuple[Stack, int]

_PLAIN_LIMIT = 1 << 16
"""Byte strings above this stay views into the file."""

_I4 = Struct("<i").unpack_from
_U4 = Struct("<I").unpack_from
_U8 = Struct("<Q").unpack_from


def run_rare(op: int, reading: Reading, stack: Stack, pos: int) -> Step:
    """Interpret the opcode at `pos`, which is none of those that the loop knows itself."""
    handler = RARE.get(op)
    if handler is None:
        raise Malformed(f"byte 0x{op:02x} is no pickle opcode")
    reading.note(pos, op)
    return handler(reading, stack, pos)


def _frame(reading: Reading, stack: Stack, pos: int) -> Step:
    _U8(reading.data, pos + 1)  # readers differ in how strictly they take a frame's length: see what any would see
    return stack, pos + 9


def _short_bytes(reading: Reading, stack: Stack, pos: int) -> Step:
    end = pos + 2 + reading.data[pos + 1]
    if end > reading.size:
        raise Malformed("a byte string is longer than the stream")
    stack.append(reading.data[pos + 2 : end])
    return stack, end


def _bytes(reading: Reading, stack: Stack, pos: int) -> Step:
    begin = pos + 5
    blob, end = _slice(reading, begin, begin + _U4(reading.data, pos + 1)[0])
    stack.append(blob)
    return stack, end


def _long_bytes(reading: Reading, stack: Stack, pos: int) -> Step:
    begin = pos + 9
    blob, end = _slice(reading, begin, begin + _U8(reading.data, pos + 1)[0])
    stack.append(blob)
    return stack, end


def _byte_array(reading: Reading, stack: Stack, pos: int) -> Step:
    begin = pos + 9
    blob, end = _slice(reading, begin, begin + _U8(reading.data, pos + 1)[0])
    stack.append(ByteArray(blob))
    return stack, end


def _slice(reading: Reading, begin: int, end: int) -> tuple[bytes | memoryview, int]:
    if end > reading.size:
        raise Malformed("a byte string is longer than the stream")
    if end - begin <= _PLAIN_LIMIT:
        return reading.data[begin:end], end
    return memoryview(reading.data)[begin:end], end


def _long_unicode(reading: Reading, stack: Stack, pos: int) -> Step:
    end = pos + 9 + _U8(reading.data, pos + 1)[0]
    if end > reading.size:
        raise Malformed("a string is longer than the stream")
    stack.append(reading.data[pos + 9 : end].decode("utf-8", "surrogatepass"))
    return stack, end


def _long4(reading: Reading, stack: Stack, pos: int) -> Step:
    length = _I4(reading.data, pos + 1)[0]
    end = pos + 5 + length
    if length < 0 or end > reading.size:
        raise Malformed("an integer is longer than the stream")
    if length > LONG_LIMIT:
        stack.append(BigInt(length))
    else:
        stack.append(int.from_bytes(reading.data[pos + 5 : end], "little", signed=True))
    return stack, end


def _bytestring(reading: Reading, stack: Stack, pos: int) -> Step:
    length = _I4(reading.data, pos + 1)[0]
    end = pos + 5 + length
    if length < 0 or end > reading.size:
        raise Malformed("a string is longer than the stream")
    stack.append(decode_bytestring(reading.data[pos + 5 : end], pos, 0x54, reading))
    return stack, end


def _empty_set(reading: Reading, stack: Stack, pos: int) -> Step:
    stack.append(SetNode([], False))
    return stack, pos + 1


def _add_to_set(reading: Reading, stack: Stack, pos: int) -> Step:
    below = reading.metastack.pop()
    add_items(below[-1], stack, pos, reading.log)
    return below, pos + 1


def _frozen_set(reading: Reading, stack: Stack, pos: int) -> Step:
    below = reading.metastack.pop()
    below.append(SetNode(stack, True))
    return below, pos + 1


def _newobj_ex(reading: Reading, stack: Stack, pos: int) -> Step:
    kwargs = stack.pop()
    args = stack.pop()
    stack[-1] = call = make_call(stack[-1], args, pos, 0x92)
    call.set_kwargs(kwargs)
    reading.log.append(call)
    return stack, pos + 1


def _pop(reading: Reading, stack: Stack, pos: int) -> Step:
    if stack:
        stack.pop()
        return stack, pos + 1
    return reading.metastack.pop(), pos + 1


def _pop_mark(reading: Reading, stack: Stack, pos: int) -> Step:
    return reading.metastack.pop(), pos + 1


def _dup(reading: Reading, stack: Stack, pos: int) -> Step:
    stack.append(stack[-1])
    return stack, pos + 1


def _dict(reading: Reading, stack: Stack, pos: int) -> Step:
    if len(stack) % 2:
        raise Malformed("a dict has a key without a value")
    below = reading.metastack.pop()
    below.append(DictNode(stack))
    return below, pos + 1


def _list(reading: Reading, stack: Stack, pos: int) -> Step:
    below = reading.metastack.pop()
    below.append(stack)
    return below, pos + 1


def _inst(reading: Reading, stack: Stack, pos: int) -> Step:
    data, size = reading.data, reading.size
    end = find_line_end(data, pos + 1, size)
    second_end = find_line_end(data, end + 1, size)
    module = data[pos + 1 : end].decode()
    name = data[end + 1 : second_end].decode()
    found = Global(*python3_name(module, name), pos, f"{module}.{name}")
    reading.log.append(found)
    call = make_call(found, tuple(stack), pos, 0x69)
    below = reading.metastack.pop()
    below.append(call)
    reading.log.append(call)
    return below, second_end + 1


def _obj(reading: Reading, stack: Stack, pos: int) -> Step:
    if not stack:
        raise Malformed("OBJ without a class")
    call = make_call(stack[0], tuple(stack[1:]), pos, 0x6F)
    below = reading.metastack.pop()
    below.append(call)
    reading.log.append(call)
    return below, pos + 1


def _put(reading: Reading, stack: Stack, pos: int) -> Step:
    end = find_line_end(reading.data, pos + 1, reading.size)
    reading.store(parse_index(reading.data[pos + 1 : end]), stack[-1])
    return stack, end + 1


def _get(reading: Reading, stack: Stack, pos: int) -> Step:
    end = find_line_end(reading.data, pos + 1, reading.size)
    stack.append(reading.load(parse_index(reading.data[pos + 1 : end])))
    return stack, end + 1


def _persid(reading: Reading, stack: Stack, pos: int) -> Step:
    end = find_line_end(reading.data, pos + 1, reading.size)
    persistent = make_persistent(reading.data[pos + 1 : end].decode("ascii"), pos)
    stack.append(persistent)
    reading.log.append(persistent)
    return stack, end + 1


def _line(reading: Reading, stack: Stack, pos: int) -> Step:
    end = find_line_end(reading.data, pos + 1, reading.size)
    stack.append(parse_line(reading.data[pos], reading.data[pos + 1 : end]))
    return stack, end + 1


def _ext(reading: Reading, stack: Stack, pos: int) -> Step:
    width = 1 << (reading.data[pos] - 0x82)
    end = pos + 1 + width
    if end > reading.size:
        raise Malformed("an extension code is cut off")
    ext = Ext(int.from_bytes(reading.data[pos + 1 : end], "little", signed=width == 4), pos)
    if ext.code <= 0:
        raise Malformed(f"extension code {ext.code} does not exist")
    stack.append(ext)
    reading.log.append(ext)
    return stack, end


def _next_buffer(reading: Reading, stack: Stack, pos: int) -> Step:
    stack.append(OutOfBand(pos))
    return stack, pos + 1


def _readonly_buffer(reading: Reading, stack: Stack, pos: int) -> Step:
    if not stack:
        raise Malformed("the stack is empty")
    return stack, pos + 1


_BY_NAME: dict[str, Callable[[Reading, Stack, int], Step]] = {
    "FRAME": _frame,
    "SHORT_BINBYTES": _short_bytes,
    "BINBYTES": _bytes,
    "BINBYTES8": _long_bytes,
    "BYTEARRAY8": _byte_array,
    "BINUNICODE8": _long_unicode,
    "LONG4": _long4,
    "BINSTRING": _bytestring,
    "EMPTY_SET": _empty_set,
    "ADDITEMS": _add_to_set,
    "FROZENSET": _frozen_set,
    "NEWOBJ_EX": _newobj_ex,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _dup,
    "DICT": _dict,
    "LIST": _list,
    "INST": _inst,
    "OBJ": _obj,
    "PUT": _put,
    "GET": _get,
    "PERSID": _persid,
    "INT": _line,
    "LONG": _line,
    "FLOAT": _line,
    "STRING": _line,
    "UNICODE": _line,
    "EXT1": _ext,
    "EXT2": _ext,
    "EXT4": _ext,
    "NEXT_BUFFER": _next_buffer,
    "READONLY_BUFFER": _readonly_buffer,
}

RARE = {code: _BY_NAME[opcode.name] for code, opcode in OPCODES.items() if opcode.name in _BY_NAME}
"""Opcode byte -> its function. What is in neither this table nor the loop is no pickle opcode."""
