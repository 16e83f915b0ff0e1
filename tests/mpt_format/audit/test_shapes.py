"""What is read in one step is what the loop reads opcode by opcode: nodes, memo, events, offsets, limits, errors."""

from __future__ import annotations

import datetime
import io
import itertools
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpt_format.audit import DEFAULT_LIMITS, Limits, _machine, audit_bytes
from mpt_format.audit._nodes import BigInt, ByteArray, Call, Global, Node, SetNode
from mpt_format.audit._stream import Reading, Stream
from mpt_format.audit._summary import summarize

from tests.attacks.audit.attacks import broken_tensors, containers, hidden_streams, running_streams
from tests.attacks.audit.shaped import shaped
from tests.attacks.audit.spelled import misused, nested, reached, spelled

from .corpus import all_cases

Read = tuple[Stream, list[int], list[Node]]
"""What is read: the stream, and the indexes and the entries of the memo."""


def read(data: bytes, *, shaped: bool, limits: Limits = DEFAULT_LIMITS, stop: int | None = None) -> Read:
    """Read a stream with or without the shapes, and give its whole memo besides."""
    kept: list[Reading] = []

    class Kept(Reading):
        """A reading that can be looked at afterwards."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_machine, "Reading", Kept)
        if not shaped:
            switch_off(patch)
        stream = _machine.run_pickle(data, limits=limits, stop=stop)
    memo = kept[0].memo
    indexes = sorted(memo) if isinstance(memo, dict) else range(len(memo))
    return stream, list(indexes), [kept[0].load(index) for index in indexes]


def switch_off(patch: pytest.MonkeyPatch) -> None:
    """Make the loop read every opcode by itself."""
    patch.setattr(_machine, "read_tensors", lambda *arguments: 0)


def parts(node: Node) -> tuple[object, list[Node]]:
    """What a node says of itself, and its children in order."""
    if isinstance(node, Call):
        more = [node.kwargs, node.items, node.pairs, node.states]
        return ("call", node.offset, node.op, [child is None for child in more]), [node.func, node.args, *more]
    if isinstance(node, (list, tuple)):
        return (type(node), len(node), isinstance(node, SetNode) and node.frozen), list(node)
    if isinstance(node, (str, int, bytes, bool)) or node is None:
        return (type(node), node), []
    if isinstance(node, float):
        return (float, struct.pack(">d", node)), []
    if isinstance(node, (BigInt, ByteArray, memoryview)):
        return (type(node), bytes(getattr(node, "data", b""))), []
    if isinstance(node, Global):
        return (Global, node.full_name, node.spelled, node.offset), []
    fields = [getattr(node, name) for name in type(node).__slots__]
    return (type(node), len(fields)), fields


PLAIN = frozenset({str, int, bool, bytes, type(None)})
"""Types whose equal values need no further look, which most parts of a graph are."""


def assert_same(left: Node, right: Node) -> None:
    """Two graphs are one: the same nodes, shared in the same places."""
    pairs: dict[int, int] = {}
    back: dict[int, int] = {}
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        plain = isinstance(one, (str, int, float, bytes)) or one is None or one == ()
        if not plain:
            if id(one) in pairs or id(other) in back:
                assert pairs.get(id(one)) == id(other)
                assert back.get(id(other)) == id(one)
                continue
            pairs[id(one)], back[id(other)] = id(other), id(one)
        said, children = parts(one)
        also_said, also_children = parts(other)
        assert said == also_said
        both = zip(children, also_children, strict=True)
        pending.extend((a, b) for a, b in both if type(a) not in PLAIN or type(a) is not type(b) or a != b)


def assert_equal_readings(data: bytes, limits: Limits = DEFAULT_LIMITS, stop: int | None = None) -> Stream:
    """A stream is read alike with the shapes and without, however little of it there is."""
    shaped, indexes, memo = read(data, shaped=True, limits=limits, stop=stop)
    plain, plain_indexes, plain_memo = read(data, shaped=False, limits=limits, stop=stop)
    assert indexes == plain_indexes
    for name in ("protocol", "end", "complete", "problem", "problem_offset", "limit", "notes"):
        assert getattr(shaped, name) == getattr(plain, name), name
    assert not plain.tensors
    for fields in (5, 6):
        one, other = summarize(shaped, fields), summarize(plain, fields)
        assert (one.calls, one.persistent, one.names) == (other.calls, other.persistent, other.names)
        storages, plain_storages = (sorted(told.storages.items()) for told in (one, other))
        assert [(key, *use[1:]) for key, use in storages] == [(key, *use[1:]) for key, use in plain_storages]
        assert_same([use.kind for _, use in storages], [use.kind for _, use in plain_storages])
        assert [(call.offset, why) for call, why in one.misused] == [(call.offset, why) for call, why in other.misused]
        assert len(one.suspects) == len(other.suspects)
    events, plain_events = shaped.get_events(), plain.get_events()
    assert_same([shaped.root, memo, one.suspects, events], [plain.root, plain_memo, other.suspects, plain_events])
    return shaped


class _Storages:
    """Names storages as torch.save does."""

    def __init__(self, fields: Iterator[int], locations: Iterator[str]) -> None:
        self.keys: dict[int, str] = {}
        self.fields = fields
        self.locations = locations

    def persistent_id(self, value: object) -> object:
        """The persistent id of a storage."""
        if not isinstance(value, torch.storage.TypedStorage):
            return None
        kind = getattr(torch, value._pickle_storage_type())
        key = self.keys.setdefault(value._untyped_storage.data_ptr(), str(len(self.keys)))
        return ("storage", kind, key, next(self.locations), value._size(), None)[: next(self.fields)]


_PurePython: Any = getattr(pickle, "_Pickler")  # noqa: B009 - typeshed has no name for it


def dump(value: object, protocol: int, *, pure: bool, fields: str = "5", fresh_locations: bool = False) -> bytes:
    """Pickle with tensors, by Python's pickler in C or in Python."""

    def locate() -> Iterator[str]:
        for number in itertools.count():
            place = f"cuda:{number}" if number % 3 else "".join(["c", "pu"])
            yield from [place if fresh_locations else "cpu"] * 2

    storages = _Storages(itertools.cycle(map(int, fields)), locate())
    base: Any = _PurePython if pure else pickle.Pickler

    class Pickler(base):  # type: ignore[misc]
        """A pickler that keeps storages outside."""

        def persistent_id(self, value: object) -> object:
            """The persistent id of a storage."""
            return storages.persistent_id(value)

    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


FILL = [f"filler {n}" for n in range(256)]
"""Takes the memo past the entries that have a short PUT."""


def many_tensors() -> list[Any]:
    """Tensors of every usual kind, tied and not, beyond the short PUTs."""
    base = torch.arange(24.0)
    tensors = [torch.zeros(shape, dtype=dtype) for shape in ((), (3,), (2, 300), (2, 3, 70000 // 6), (1, 2, 3, 4, 5))
               for dtype in (torch.float32, torch.float32, torch.int64, torch.bool)]  # fmt: skip
    tied = torch.ones(5, requires_grad=True)
    views = [base[4:].reshape(4, 5), base[::3], base.reshape(4, 6).T, base[0:0], base[23:]]
    return [FILL, *tensors, tied, tied, tied.detach(), *views, torch.nn.Parameter(base), {"step": torch.tensor(3.0)}]


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("fields", ["5", "6", "5556"])
@pytest.mark.parametrize("fresh", [False, True])
def test_tensors_are_what_the_loop_reads(protocol: int, pure: bool, fields: str, fresh: bool) -> None:
    data = dump(many_tensors(), protocol, pure=pure, fields=fields, fresh_locations=fresh)
    stream = assert_equal_readings(data)
    assert stream.complete
    assert (len(stream.tensors) > 9) == (protocol in (2, 3))


@pytest.mark.parametrize("fill", [0, 256])
def test_tensors_are_read_as_a_whole(fill: int) -> None:
    values = [FILL[:fill], *(torch.zeros(n) for n in range(20)), {f"n{n}": torch.zeros(n) for n in range(20)}]
    stream = read(dump(values, 2, pure=False), shaped=True)[0]
    assert len(stream.tensors) >= 37  # not the first one, which imports its names, nor one between short and long


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("pure", [False, True])
def test_calls_are_what_the_loop_reads(protocol: int, pure: bool) -> None:
    at = datetime.datetime(2025, 1, 2, 3, 4, 5)
    made = [at + datetime.timedelta(days=n, microseconds=n) for n in range(30)]
    values = [FILL, made, made[3], [np.float32(n) for n in range(9)], np.arange(4), [bytes([n, 200]) for n in range(9)]]
    assert assert_equal_readings(dump(values, protocol, pure=pure)).complete


def shaped_stream() -> bytes:
    """A short stream in which all shapes stand close together."""
    at = datetime.datetime(2025, 1, 2)
    tied = torch.zeros(3, 4)
    inner = [torch.zeros(2), at, torch.zeros(2, 300), np.float32(2), tied, tied.T, {"version": 1}, {"version": 2}, at]
    return dump([FILL, *inner, torch.tensor(1.0), at.replace(year=9)], 2, pure=False, fresh_locations=True)


def named_stream() -> bytes:
    """A short stream of tensors below names, new ones and repeated ones; all its PUTs are short."""
    first, second = "a.weight", "b.bias"
    inner = [{first: torch.zeros(2), second: torch.zeros(2, 300)}, {second: torch.zeros(3), first: torch.zeros(())}]
    return dump([*inner, {1: torch.zeros(2), "c": torch.zeros(1)}], 2, pure=False)


STREAM = shaped_stream()
BEGIN = STREAM.index(b"torch._utils")
NAMED = named_stream()
BEGINS = {STREAM: BEGIN, NAMED: NAMED.index(b"a.weight") - 6}
streams = pytest.mark.parametrize("whole", [STREAM, NAMED], ids=["long", "short"])


@streams
def test_a_stream_that_is_cut_anywhere_is_explained_alike(whole: bytes) -> None:
    for cut in range(BEGINS[whole], len(whole)):
        assert not assert_equal_readings(whole[:cut]).complete


@pytest.mark.parametrize("before", range(225, 262))
def test_tensors_are_read_alike_where_short_puts_end(before: int) -> None:
    names = {f"n{at}": torch.zeros(at) for at in range(4)}
    again = {name: torch.zeros(2, 2) for name in names}
    data = dump([FILL[:before], names, again, torch.zeros(2)], 2, pure=False)
    stream = assert_equal_readings(data)
    assert len(stream.tensors) >= 6
    assert_equal_readings(data[:-2] + b"".join(b"h" + bytes([at]) for at in range(before, 256)) + data[-2:])


def test_a_limit_is_reached_at_the_same_opcode() -> None:
    whole = run_turns(STREAM)
    for opcodes in range(whole - 90, whole + 2):
        assert_equal_readings(STREAM, Limits(opcodes=opcodes))


def run_turns(data: bytes) -> int:
    """The least limit under which a stream is read to its end."""
    low, high = 1, len(data)
    while low < high:
        middle = (low + high) // 2
        if read(data, shaped=False, limits=Limits(opcodes=middle))[0].complete:
            high = middle
        else:
            low = middle + 1
    return low


def test_a_limit_of_open_marks_is_reached_at_the_same_mark() -> None:
    deeper = (1, 2, 3, torch.zeros(2), 5)
    data = dump([FILL, torch.zeros(1), torch.zeros(2), deeper, (1, 2, 3, deeper)], 2, pure=False)
    for marks in range(1, 7):
        assert_equal_readings(data, Limits(marks=marks))


def test_a_stream_that_stops_within_the_data_is_explained_alike() -> None:
    for stop in range(BEGIN, len(STREAM)):
        assert not assert_equal_readings(STREAM, stop=stop).complete


@pytest.mark.parametrize("index", [300, 5000, 2**32 - 1])
def test_a_memo_with_gaps_is_kept_alike(index: int) -> None:
    at = STREAM.index(b"R", BEGIN + 100) + 6
    assert_equal_readings(STREAM[:at] + b"r" + struct.pack("<I", index) + STREAM[at:])
    assert_equal_readings(STREAM[:BEGIN] + STREAM[BEGIN:].replace(b"r", b"q", 1))


@streams
def test_a_changed_byte_changes_both_readings_alike(whole: bytes) -> None:
    draw = random.Random(6)
    for at in range(BEGINS[whole], len(whole)):
        for value in {draw.randrange(256), draw.choice(b"hjrqtRKMJX}s()\x85\x86\x88NQ0b"), whole[at] ^ 1}:
            assert_equal_readings(whole[:at] + bytes([value]) + whole[at + 1 :])


@streams
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_spliced_streams_are_read_alike(whole: bytes, data: st.DataObject) -> None:
    """Pieces of the stream repeated, left out and moved: memo entries are stored twice, missed and out of order."""
    begin = data.draw(st.integers(BEGINS[whole], len(whole) - 2))
    end = data.draw(st.integers(begin, min(begin + 200, len(whole))))
    to = data.draw(st.integers(BEGINS[whole], len(whole) - 1))
    assert_equal_readings(whole[:to] + whole[begin:end] + whole[data.draw(st.sampled_from([to, end])) :])


NEAR = st.integers(0, 70) | st.integers(250, 400)
GETS = NEAR.map(lambda at: b"j" + struct.pack("<I", at)) | st.integers(0, 70).map(lambda at: b"h" + bytes([at]))
PUTS = NEAR.map(lambda at: b"r" + struct.pack("<I", at)) | st.integers(0, 70).map(lambda at: b"q" + bytes([at]))
CHANGES = st.sampled_from([b"}b", b"]b", b"K\1K\2s", b"Na", b"0", b"2", b"(K\1K\2u", b"(Ne", b"\x81", b"R", b"\x85R"])


@streams
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_what_stands_inside_a_shape_may_be_fetched_stored_and_changed(whole: bytes, data: st.DataObject) -> None:
    ends = [at for at in range(BEGINS[whole], len(whole) - 1) if whole[at : at + 2] in (b"Rr", b"Rq")]
    at = data.draw(st.sampled_from(ends))
    at += 6 if whole[at + 1 : at + 2] == b"r" else 3
    pieces = data.draw(st.lists(GETS | PUTS | CHANGES, max_size=6))
    assert_equal_readings(whole[:at] + b"".join(pieces) + whole[at:])


def test_long_puts_of_small_entries_are_read_alike() -> None:
    """No pickler writes them; a short GET reaches what they store."""

    class LongPuts(_PurePython):  # type: ignore[misc]
        """A pickler that stores every entry with a long PUT."""

        def put(self, index: int) -> bytes:
            """The opcode that stores an entry."""
            return b"r" + struct.pack("<I", index)

        def persistent_id(self, value: object) -> object:
            """The persistent id of a storage."""
            return storages.persistent_id(value)

    storages = _Storages(itertools.repeat(5), iter(["cpu"] * 20))
    stream = io.BytesIO()
    LongPuts(stream, 2).dump([torch.zeros(3), {"version": 1}, *(torch.zeros(n, 2) for n in range(5)), {"version": 2}])
    data = stream.getvalue()
    for at in range(data.index(b"\x89"), len(data)):
        if data[at : at + 2] == b"Rr" or data[at : at + 1] == b"s":
            end = at + (6 if data[at : at + 1] == b"R" else 1)
            for index in range(40):
                assert_equal_readings(data[:end] + b"h" + bytes([index]) + data[end:])


def test_what_is_put_into_the_hooks_of_a_tensor_later_has_its_path() -> None:
    _, indexes, memo = read(STREAM, shaped=True)
    entries = zip(indexes, memo, strict=True)
    hooks = [at for at, node in entries if at > 256 and isinstance(node, Call) and "OrderedDict" in node.func.full_name]
    for index in hooks:
        changed = b"j" + struct.pack("<I", index) + b"X\1\0\0\0acos\nsystem\nNRs0"
        one, other = audit_both(STREAM[:-2] + changed + STREAM[-2:])
        assert one == other
        assert one["findings"][0]["path"] is not None


numbers = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 70000)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=4) | st.binary(max_size=4)
    | st.datetimes() | st.builds(torch.zeros, st.lists(st.integers(0, 3), max_size=5)) | st.just({"version": 1}),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(value=values, protocol=st.integers(0, 5), pure=st.booleans(), fresh=st.booleans(), cut=st.integers(-1, 300))
def test_generated_values_are_read_alike(value: Any, protocol: int, pure: bool, fresh: bool, cut: int) -> None:
    data = dump([FILL, value, value], protocol, pure=pure, fresh_locations=fresh)
    assert_equal_readings(data if cut < 0 else data[: len(data) - cut])


def audit_both(data: bytes) -> tuple[Any, Any]:
    """The answer with the shapes and without."""
    shaped = audit_bytes(data, name="file").to_json()
    with pytest.MonkeyPatch.context() as patch:
        switch_off(patch)
        return shaped, audit_bytes(data, name="file").to_json()


def find_differing(files: Iterator[tuple[str, bytes]]) -> list[str]:
    """Names of the files of which the two answers differ."""
    return [name for name, data in files for one, other in [audit_both(data)] if one != other]


def test_the_whole_corpus_is_answered_alike() -> None:
    assert find_differing((case.name, case.data) for case in all_cases()) == []


ATTACKS = (shaped, running_streams, hidden_streams, spelled, reached, misused, nested, broken_tensors, containers)


@pytest.mark.parametrize("attacks", ATTACKS)
def test_every_attack_is_answered_alike(attacks: Callable[[], Iterator[tuple[str, bytes]]]) -> None:
    assert find_differing(attacks()) == []


def test_an_attack_within_a_shape_is_read_alike() -> None:
    for _, data in shaped():
        assert_equal_readings(data)
        for cut in range(len(data) - 120, len(data)):
            assert_equal_readings(data[:cut])


def test_an_attack_behind_a_shape_is_found_all_the_same() -> None:
    at = STREAM.index(b"Rr", BEGIN) + 6
    for _, attack in running_streams():
        body = attack[2:-1] if attack[:1] == b"\x80" else attack[:-1]
        data = STREAM[:at] + b"0" + body + STREAM[at:]
        assert_equal_readings(data)
        one, other = audit_both(data)
        assert one == other


@pytest.mark.parametrize("legacy", [False, True])
def test_large_checkpoints_are_answered_alike(legacy: bool) -> None:
    module = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(40)))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved: list[Callable[[], object]] = [module.state_dict, lambda: module, lambda: [module.state_dict(), 1j]]
    for value in saved:
        stream = io.BytesIO()
        content = {"model": value(), "optimizer": optimizer.state_dict(), "at": datetime.datetime(2025, 1, 1)}
        torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
        one, other = audit_both(stream.getvalue())
        assert one == other


def test_a_missing_record_and_a_short_one_are_answered_alike() -> None:
    stream = io.BytesIO()
    torch.save({"a": FILL, "b": [torch.zeros(n + 1) for n in range(20)]}, stream)
    for change in (lambda name, raw: None if name.endswith("data/9") else raw, lambda name, raw: raw[:-1]):
        changed = io.BytesIO()
        with zipfile.ZipFile(stream) as source, zipfile.ZipFile(changed, "w") as target:
            for name in source.namelist():
                raw = change(name, source.read(name)) if "/data/" in name else source.read(name)
                if raw is not None:
                    target.writestr(name, raw)
        one, other = audit_both(changed.getvalue())
        assert one == other
        assert one["verdict"] != "ok"
