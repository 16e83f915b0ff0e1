"""The 68 pickle opcodes by number: their name and the protocol that brought them.

A plain table and nothing else: it reads no file and decides nothing.

Source: CPython `Lib/pickletools.py`, protocols 0 to 5 (PEP 307, PEP 3154, PEP 574).
"""

from __future__ import annotations

__all__ = ["OPCODES", "Opcode", "opcode_name"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Opcode:
    """One pickle opcode: its byte, its name in the standard library, its first protocol."""

    code: int
    name: str
    protocol: int


_TABLE = """
28 MARK 0|2e STOP 0|30 POP 0|31 POP_MARK 1|32 DUP 0|46 FLOAT 0|49 INT 0|4a BININT 1|4b BININT1 1|4c LONG 0
4d BININT2 1|4e NONE 0|50 PERSID 0|51 BINPERSID 1|52 REDUCE 0|53 STRING 0|54 BINSTRING 1|55 SHORT_BINSTRING 1
56 UNICODE 0|58 BINUNICODE 1|61 APPEND 0|62 BUILD 0|63 GLOBAL 0|64 DICT 0|7d EMPTY_DICT 1|65 APPENDS 1|67 GET 0
68 BINGET 1|69 INST 0|6a LONG_BINGET 1|6c LIST 0|5d EMPTY_LIST 1|6f OBJ 1|70 PUT 0|71 BINPUT 1|72 LONG_BINPUT 1
73 SETITEM 0|74 TUPLE 0|29 EMPTY_TUPLE 1|75 SETITEMS 1|47 BINFLOAT 1|80 PROTO 2|81 NEWOBJ 2|82 EXT1 2|83 EXT2 2
84 EXT4 2|85 TUPLE1 2|86 TUPLE2 2|87 TUPLE3 2|88 NEWTRUE 2|89 NEWFALSE 2|8a LONG1 2|8b LONG4 2|42 BINBYTES 3
43 SHORT_BINBYTES 3|8c SHORT_BINUNICODE 4|8d BINUNICODE8 4|8e BINBYTES8 4|8f EMPTY_SET 4|90 ADDITEMS 4
91 FROZENSET 4|92 NEWOBJ_EX 4|93 STACK_GLOBAL 4|94 MEMOIZE 4|95 FRAME 4|96 BYTEARRAY8 5|97 NEXT_BUFFER 5
98 READONLY_BUFFER 5
"""


def _parse_table(text: str) -> dict[int, Opcode]:
    opcodes = {}
    for entry in text.replace("\n", "|").split("|"):
        if entry:
            code, name, protocol = entry.split()
            opcodes[int(code, 16)] = Opcode(code=int(code, 16), name=name, protocol=int(protocol))
    return opcodes


OPCODES: dict[int, Opcode] = _parse_table(_TABLE)


def opcode_name(code: int) -> str:
    """The standard library's name of an opcode byte, or its value in hex when it is none."""
    opcode = OPCODES.get(code)
    return opcode.name if opcode else f"0x{code:02x}"
