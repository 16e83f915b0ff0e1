"""The symbolic unpickler reads what Python's unpickler reads, and builds nothing but inert nodes."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format.audit import audit_bytes
from mpt_format.audit._limits import Limits
from mpt_format.audit._machine import run_pickle
from mpt_format.audit._nodes import ByteArray, Call, DictNode, Global, SetNode
from mpt_format.audit._opcodes import OPCODES
from mpt_format.audit._rare_opcodes import RARE
from mpt_format.audit._walk import walk_graph


def to_python(node: Any) -> Any:
    """The plain value of a graph without calls."""
    if type(node) is DictNode:
        return {to_python(key): to_python(value) for key, value in zip(node[::2], node[1::2], strict=True)}
    if type(node) is SetNode:
        items = {to_python(item) for item in node}
        return frozenset(items) if node.frozen else items
    if type(node) is list:
        return [to_python(item) for item in node]
    if type(node) is tuple:
        return tuple(to_python(item) for item in node)
    if type(node) is ByteArray:
        return bytearray(node.data)
    return bytes(node) if type(node) is memoryview else node


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=25,
)


def test_table_has_every_opcode_of_the_standard_library() -> None:
    expected = {ord(opcode.code): (opcode.name, opcode.proto) for opcode in pickletools.opcodes}
    assert {code: (opcode.name, opcode.protocol) for code, opcode in OPCODES.items()} == expected
    assert len(OPCODES) == 68


@settings(max_examples=150, deadline=None)
@given(value=plain, protocol=st.sampled_from([3, 4, 5]))
def test_plain_values_come_back_as_they_were(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    stream = run_pickle(data)
    assert stream.complete
    assert stream.end == len(data)
    assert to_python(stream.root) == value


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read_to_its_end(protocol: int) -> None:
    value = {"a": [1, 2.5, "x", None, True], "t": (1, 2, 3, 4), "n": 2**40, "s": {1, 2}}
    stream = run_pickle(pickle.dumps(value, protocol))
    assert stream.complete, stream.problem


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    stream = run_pickle(data)
    assert stream.complete or stream.problem or stream.limit
    walk_graph(stream.root, Limits())


@settings(max_examples=100, deadline=None)
@given(value=plain, cut=st.integers(0, 200))
def test_cut_streams_are_problems_and_not_errors(value: Any, cut: int) -> None:
    data = pickle.dumps(value, 4)
    stream = run_pickle(data[: max(0, len(data) - 1 - cut)])
    assert not stream.complete
    assert stream.problem


def test_shared_and_cyclic_objects_are_one_node() -> None:
    made: list[Any] = [1]
    made.append(made)
    root = run_pickle(pickle.dumps({"a": made, "b": made}, 4)).root
    assert root[1] is root[3]
    assert root[1][1] is root[1]


def test_names_of_python_2_are_translated_and_kept_as_spelled() -> None:
    found = run_pickle(b"c__builtin__\neval\n.").root
    assert (found.full_name, found.spelled) == ("builtins.eval", "__builtin__.eval")


def test_log_is_in_file_order_with_offsets() -> None:
    data = b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R."
    stream = run_pickle(data)
    kinds = [type(event) for event in stream.log]
    assert kinds == [Global, Call]
    assert [event.offset for event in stream.log] == [2, data.index(b"R.")]


def test_offsets_count_from_the_start_of_the_data() -> None:
    assert run_pickle(b"xxcos\nsystem\n.", 2).log[0].offset == 2


def test_walk_names_paths_as_python_would_write_them() -> None:
    root = run_pickle(pickle.dumps({1: [{"1": ({"k": []},)}]}, 4)).root
    walk = walk_graph(root, Limits())
    assert walk.format_path(len(walk.nodes) - 1) == "root[1][0]['1'][0]['k']"


def test_walk_counts_references_and_keeps_the_first_path() -> None:
    inner: list[int] = []
    walk = walk_graph(run_pickle(pickle.dumps({"a": inner, "b": [inner, inner]}, 4)).root, Limits())
    index = 1
    assert walk.format_path(index) == "root['a']"
    assert walk.references[index] == 3
    assert walk.format_other_paths(index) == ["root['b'][0]", "root['b'][1]"]


def test_truncated_text_is_a_problem_at_its_own_opcode() -> None:
    assert run_pickle(b"\x80\x02NX\x05\0\0\0ab").problem_offset == 3


def test_every_opcode_has_one_reader() -> None:
    in_loop = {
        "MARK",
        "STOP",
        "BININT",
        "BININT1",
        "BININT2",
        "NONE",
        "BINPERSID",
        "REDUCE",
        "SHORT_BINSTRING",
        "BINUNICODE",
        "APPEND",
        "BUILD",
        "GLOBAL",
        "EMPTY_DICT",
        "APPENDS",
        "BINGET",
        "LONG_BINGET",
        "EMPTY_LIST",
        "BINPUT",
        "LONG_BINPUT",
        "SETITEM",
        "TUPLE",
        "EMPTY_TUPLE",
        "SETITEMS",
        "BINFLOAT",
        "PROTO",
        "NEWOBJ",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "NEWTRUE",
        "NEWFALSE",
        "LONG1",
        "SHORT_BINUNICODE",
        "STACK_GLOBAL",
        "MEMOIZE",
    }
    assert in_loop | {OPCODES[code].name for code in RARE} == {opcode.name for opcode in OPCODES.values()}
    assert in_loop.isdisjoint(OPCODES[code].name for code in RARE)


def test_findings_beyond_the_listed_ones_are_counted() -> None:
    data = pickle.dumps([bytes([n]) * 3 for n in range(50)], 4)
    found = audit_bytes(data, name="bytes", limits=Limits(findings=7))
    assert sum(finding.severity == "incompatible" for finding in found.findings) == 7
    assert any(limit.startswith("findings:") for limit in found.limits_hit)
