"""Arguments that are spelled as text: the numbers and strings of protocols 0 and 1, and Python 2's byte strings.

Nothing is computed that the file could make long: integers above a bound keep only their length.

Source: CPython `Lib/pickle.py` (`load_int`, `load_long`, `load_string`, `load_unicode`).
"""

from __future__ import annotations

__all__ = ["LONG_LIMIT", "decode_bytestring", "find_line_end", "parse_index", "parse_line"]

import codecs

from ._nodes import BigInt, Node
from ._opcodes import opcode_name
from ._stream import Buffer, Malformed, Reading

LONG_LIMIT = 1 << 10
"""Integers above this many bytes are not computed."""
_SHORT_BINSTRING = 0x55


def find_line_end(data: Buffer, pos: int, size: int) -> int:
    """The offset behind a line's text: its line feed, or the last byte of the stream, which readers cut off unseen."""
    end = data.find(b"\n", pos, size)
    return end if end >= 0 else max(pos, size - 1)


def parse_index(line: bytes) -> int:
    """The memo index that PUT and GET spell."""
    try:
        index = int(line[:4000])
    except ValueError:
        index = -1
    if index < 0 or len(line) > 4000:
        raise Malformed("a memo index is not a number")
    return index


def decode_bytestring(raw: bytes, offset: int, op: int, reading: Reading) -> Node:
    """A Python 2 byte string: text in torch's reading (UTF-8), else kept as bytes and noted."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if op == _SHORT_BINSTRING:  # torch knows the opcode but refuses this content: noted under its negative
            reading.note(offset, -op)
        return raw


def parse_line(op: int, line: bytes) -> Node:
    """The value of a text opcode: INT, LONG, FLOAT, STRING, UNICODE."""
    try:
        if op == 0x49:  # INT, where 00 and 01 are the booleans of protocol 1
            if line in (b"00", b"01"):
                return line == b"01"
            return int(line, 0) if len(line) <= 2 * LONG_LIMIT else BigInt(len(line))
        if op == 0x4C:  # LONG
            digits = line[:-1] if line.endswith(b"L") else line
            return int(digits, 0) if len(digits) <= 2 * LONG_LIMIT else BigInt(len(digits))
        if op == 0x46:  # FLOAT
            return float(line)
        if op == 0x53:  # STRING
            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
                raise Malformed("a quoted string does not end")
            raw = codecs.escape_decode(line[1:-1])[0]
            try:
                return raw.decode("utf-8")
            except UnicodeDecodeError:
                return raw
        return str(line, "raw-unicode-escape")
    except (ValueError, UnicodeError) as error:
        raise Malformed(f"a {opcode_name(op)} argument cannot be read") from error
