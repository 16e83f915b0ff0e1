"""The symbolic unpickler: one pass over a pickle that builds what it says and runs none of it.

All 68 opcodes are interpreted as Python's own unpickler does, on inert nodes: nothing is imported, hashed, compared or
computed, and every length is checked against the data before it is used.

The loop is one long function on purpose: two chains of comparisons, each in the order of frequency, with the memo store
that follows most values done in the same turn, are what makes a million objects a matter of seconds. It knows the
opcodes of protocol 2 and the common ones of protocol 4; all others are functions in `_rare_opcodes`.

Source: CPython `Lib/pickle.py` and `Modules/_pickle.c` for what an opcode does.
"""

from __future__ import annotations

__all__ = ["Buffer", "no_collections", "run_pickle"]

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from struct import error as StructError

from ._changes import append_items, set_items
from ._limits import DEFAULT_LIMITS, Limits
from ._literals import decode_bytestring, find_line_end
from ._names import python3_name
from ._nodes import LATER, Call, DictNode, Global, Node, Persistent, Unresolvable
from ._opcodes import opcode_name
from ._rare_opcodes import run_rare
from ._shapes import read_tensors
from ._stream import BUILD, Buffer, LimitHit, Malformed, Reading, Stream

_I4 = Struct("<i").unpack_from
_U4 = Struct("<I").unpack_from
_U2 = Struct("<H").unpack_from
_F8 = Struct(">d").unpack_from


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
    reading = Reading(data, size, stream)
    event = reading.log.append
    memo, metastack = reading.memo, reading.metastack
    stack: list[Node] = []
    push = stack.append
    pos = end = start  # of the opcode that is interpreted, and behind it and its argument
    max_marks = limits.marks
    bounded = size - start > limits.opcodes  # each turn reads a byte or more: else this limit cannot be reached
    short_strings = stack_globals = memoized = 0
    try:
        for _ in range(limits.opcodes):
            op = data[pos]
            if op < 0x60:  # two short chains: a fifth faster than one on lists and calls
                if op == 0x58:  # BINUNICODE
                    end = pos + 5 + _U4(data, pos + 1)[0]
                    if end > size:
                        raise Malformed("a string is longer than the stream")
                    try:
                        push(data[pos + 5 : end].decode())
                    except UnicodeDecodeError:
                        push(data[pos + 5 : end].decode("utf-8", "surrogatepass"))
                elif op == 0x4B:  # BININT1, often several in a row
                    push(data[pos + 1])
                    end = pos + 2
                    while data[end] == 0x4B:
                        push(data[end + 1])
                        end += 2
                    pos = end
                    continue
                elif op == 0x28:  # MARK
                    metastack.append(stack)
                    stack = []
                    push = stack.append
                    if len(metastack) > max_marks:
                        raise LimitHit(f"marks: more than {max_marks} open at once")
                    pos += 1
                    # Two MARKs begin a tensor's arguments; a list is a memo that counts from zero.
                    if data[pos] == 0x28 and type(memo) is list and not bounded and len(metastack) < max_marks:
                        end = read_tensors(reading, memo, metastack[-1], pos - 1)
                        if end:
                            pos = end
                            stack = metastack.pop()
                            push = stack.append
                    continue
                elif op == 0x47:  # BINFLOAT
                    push(_F8(data, pos + 1)[0])
                    pos += 9
                    continue
                elif op == 0x52:  # REDUCE
                    args = stack.pop()
                    call = Call()
                    call.func = stack[-1]
                    call.args = args
                    call.offset = pos
                    call.op = 0x52
                    call.more = None
                    stack[-1] = call
                    event(call)
                    end = pos + 1
                elif op == 0x4D:  # BININT2
                    push(_U2(data, pos + 1)[0])
                    pos += 3
                    continue
                elif op == 0x29:  # EMPTY_TUPLE
                    pos += 1
                    if data[pos] != 0x52:
                        push(())
                        continue
                    call = Call()  # REDUCE, of a function without arguments
                    call.func = stack[-1]
                    call.args = ()
                    call.offset = pos
                    call.op = 0x52
                    call.more = None
                    stack[-1] = call
                    event(call)
                    end = pos + 1
                elif op == 0x5D:  # EMPTY_LIST
                    push([])
                    end = pos + 1
                elif op == 0x4E:  # NONE
                    push(None)
                    pos += 1
                    continue
                elif op == 0x51:  # BINPERSID
                    persistent = Persistent()
                    persistent.pid = stack[-1]
                    persistent.offset = pos
                    stack[-1] = persistent
                    event(persistent)
                    pos += 1
                    continue
                elif op == 0x4A:  # BININT
                    push(_I4(data, pos + 1)[0])
                    pos += 5
                    continue
                elif op == 0x2E:  # STOP
                    stream.root = stack.pop()
                    stream.complete = True
                    pos += 1
                    break
                elif op == 0x55:  # SHORT_BINSTRING
                    end = pos + 2 + data[pos + 1]
                    if end > size:
                        raise Malformed("a string is longer than the stream")
                    push(decode_bytestring(data[pos + 2 : end], pos, op, reading))
                else:
                    stack, pos = run_rare(op, reading, stack, pos)
                    push = stack.append
                    memo = reading.memo
                    continue
            else:
                if op == 0x7D:  # EMPTY_DICT
                    push(DictNode())
                    end = pos + 1
                elif op == 0x6A:  # LONG_BINGET
                    node = memo[_U4(data, pos + 1)[0]]
                    push(node if node is not LATER else reading.load(_U4(data, pos + 1)[0]))
                    pos += 5
                    continue
                elif op == 0x73:  # SETITEM
                    item = stack.pop()
                    key = stack.pop()
                    target = stack[-1]
                    if type(target) is DictNode and type(key) is str:
                        target.append(key)
                        target.append(item)
                    else:
                        set_items(target, [key, item], pos, reading.log)
                    pos += 1
                    continue
                elif op == 0x74:  # TUPLE
                    items = tuple(stack)
                    stack = metastack.pop()
                    push = stack.append
                    push(items)
                    end = pos + 1
                elif op == 0x68:  # BINGET
                    node = memo[data[pos + 1]]
                    push(node if node is not LATER else reading.load(data[pos + 1]))
                    pos += 2
                    continue
                elif op == 0x75:  # SETITEMS
                    pairs = stack
                    stack = metastack.pop()
                    push = stack.append
                    set_items(stack[-1], pairs, pos, reading.log)
                    pos += 1
                    continue
                elif op == 0x8C:  # SHORT_BINUNICODE
                    end = pos + 2 + data[pos + 1]
                    if end > size:
                        raise Malformed("a string is longer than the stream")
                    if not short_strings:
                        reading.note(pos, op)
                    short_strings += 1
                    push(data[pos + 2 : end].decode("utf-8", "surrogatepass"))
                elif op == 0x89:  # NEWFALSE
                    push(False)
                    pos += 1
                    continue
                elif op == 0x94:  # MEMOIZE, of what did not just come to be
                    memo.append(stack[-1])
                    if not memoized:
                        reading.note(pos, op)
                    memoized += 1
                    pos += 1
                    continue
                elif op == 0x85:  # TUPLE1
                    stack[-1] = (stack[-1],)
                    end = pos + 1
                elif op == 0x86:  # TUPLE2
                    second = stack.pop()
                    stack[-1] = (stack[-1], second)
                    end = pos + 1
                elif op == 0x88:  # NEWTRUE
                    push(True)
                    pos += 1
                    continue
                elif op == 0x61:  # APPEND
                    item = stack.pop()
                    target = stack[-1]
                    if type(target) is list:
                        target.append(item)
                    else:
                        append_items(target, [item], pos, reading.log)
                    pos += 1
                    continue
                elif op == 0x65:  # APPENDS
                    several = stack
                    stack = metastack.pop()
                    push = stack.append
                    target = stack[-1]
                    if type(target) is list:
                        target.extend(several)
                    else:
                        append_items(target, several, pos, reading.log)
                    pos += 1
                    continue
                elif op == 0x87:  # TUPLE3
                    third = stack.pop()
                    second = stack.pop()
                    stack[-1] = (stack[-1], second, third)
                    end = pos + 1
                elif op == 0x81:  # NEWOBJ
                    args = stack.pop()
                    call = Call()
                    call.func = stack[-1]
                    call.args = args
                    call.offset = pos
                    call.op = 0x81
                    call.more = None
                    stack[-1] = call
                    event(call)
                    end = pos + 1
                elif op == 0x62:  # BUILD
                    state = stack.pop()
                    target = stack[-1]
                    if isinstance(target, Call):
                        target.add_state(state)
                    event((pos, BUILD, (target, state)))
                    pos += 1
                    continue
                elif op == 0x72:  # LONG_BINPUT, likewise
                    node = stack[-1]
                    memo = reading.store(_U4(data, pos + 1)[0], node)
                    pos += 5
                    continue
                elif op == 0x71:  # BINPUT, likewise
                    node = stack[-1]
                    memo = reading.store(data[pos + 1], node)
                    pos += 2
                    continue
                elif op == 0x63:  # GLOBAL
                    middle = find_line_end(data, pos + 1, size)
                    end = find_line_end(data, middle + 1, size)
                    module = data[pos + 1 : middle].decode()
                    name = data[middle + 1 : end].decode()
                    found = Global(*python3_name(module, name), pos, f"{module}.{name}")
                    push(found)
                    event(found)
                    end += 1
                elif op == 0x93:  # STACK_GLOBAL
                    name_node = stack.pop()
                    module_node = stack[-1]
                    if not stack_globals:
                        reading.note(pos, op)
                    stack_globals += 1
                    if type(name_node) is str and type(module_node) is str:
                        spelled = f"{module_node}.{name_node}"
                        stack[-1] = found = Global(*python3_name(module_node, name_node), pos, spelled)
                        event(found)
                    else:
                        stack[-1] = unresolvable = Unresolvable(module_node, name_node, pos)
                        event(unresolvable)
                    end = pos + 1
                elif op == 0x8A:  # LONG1
                    end = pos + 2 + data[pos + 1]
                    if end > size:
                        raise Malformed("an integer is longer than the stream")
                    push(int.from_bytes(data[pos + 2 : end], "little", signed=True))
                elif op == 0x80:  # PROTO
                    protocol = data[pos + 1]
                    if protocol > 5:
                        raise Malformed(f"protocol {protocol} does not exist")
                    if stream.protocol is None:
                        stream.protocol = protocol
                    pos += 2
                    continue
                else:
                    stack, pos = run_rare(op, reading, stack, pos)
                    push = stack.append
                    memo = reading.memo
                    continue
            # Most values are stored in the memo right after they are made: save a turn of the loop.
            op = data[end]
            if op == 0x72:  # LONG_BINPUT
                at = _U4(data, end + 1)[0]
                if at == len(memo):
                    memo.append(stack[-1])
                else:
                    memo = reading.store(at, stack[-1])
                pos = end + 5
            elif op == 0x71:  # BINPUT
                at = data[end + 1]
                if at == len(memo):
                    memo.append(stack[-1])
                else:
                    memo = reading.store(at, stack[-1])
                pos = end + 2
            elif op == 0x94:  # MEMOIZE
                memo.append(stack[-1])
                if not memoized:
                    reading.note(end, op)
                memoized += 1
                pos = end + 1
            else:
                pos = end
        else:
            raise LimitHit(f"opcodes: stopped after {limits.opcodes}")
    except LimitHit as hit:
        stream.limit = str(hit)
        stream.problem_offset = pos
    except Malformed as problem:
        stream.problem = str(problem)
        stream.problem_offset = pos
    except (IndexError, KeyError, StructError, UnicodeDecodeError) as error:
        stream.problem_offset = pos
        stream.problem = _explain(error, reading, pos, max(pos + 1, end))
    if stream.complete and pos > size:
        stream.complete, stream.problem = False, "the stream ends before its STOP"
    stream.end = pos
    for code, count in ((0x8C, short_strings), (0x93, stack_globals), (0x94, memoized)):
        if count:
            stream.notes[code][1] = count


def _explain(error: Exception, reading: Reading, pos: int, reached: int) -> str:
    """Why the loop fell out of the data, the stack or the memo at the opcode at `pos`, having read to `reached`."""
    data = reading.data
    if isinstance(error, KeyError):
        return f"memo entry {error.args[0]!r} was never stored"
    if isinstance(error, UnicodeDecodeError):
        return "a string is not UTF-8"
    if isinstance(error, StructError) or reached >= len(data):
        return "the stream ends before its STOP"
    if data[pos] in (0x68, 0x6A):  # BINGET and LONG_BINGET take nothing from the stack
        return f"memo entry {data[pos + 1] if data[pos] == 0x68 else _U4(data, pos + 1)[0]} was never stored"
    return f"{opcode_name(data[pos])} takes more from the stack than there is"
