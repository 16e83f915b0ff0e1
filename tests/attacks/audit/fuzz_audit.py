"""Coverage-guided fuzzing of the symbolic unpickler and the containers with atheris; run by hand, not by pytest.

    uv venv -p 3.11 fuzz-venv && uv pip install -p fuzz-venv atheris pyyaml click rich jinja2
    PYTHONPATH=packages/mpt-format/src:. fuzz-venv/bin/python tests/attacks/audit/fuzz_audit.py pickle 900
    PYTHONPATH=packages/mpt-format/src:. fuzz-venv/bin/python tests/attacks/audit/fuzz_audit.py file 900

`pickle` compares with Python's own unpickler on inert stand-ins: every name that it would import must be in our log,
what it reads to the end, we read to the end, and what is read in one step is what the loop reads. `file` feeds whole
files: no exception may leave the audit, and no file that names anything beyond torch's allow-list may be called ok. A
finding stops the run and leaves its input.
"""

from __future__ import annotations

import io
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["mpt_format.audit"]):
    from mpt_format.audit import _machine, audit_bytes
    from mpt_format.audit._limits import Limits
    from mpt_format.audit._machine import run_pickle
    from mpt_format.audit._markdown import format_report
    from mpt_format.audit._names import python3_name
    from mpt_format.audit._nodes import Global
    from mpt_format.audit._stream import Stream
    from mpt_format.audit._text import format_audit
    from mpt_format.audit._torch_table import load_rules

_LIMITS = Limits(opcodes=200_000, marks=10_000, findings=50, inflated_size_bytes=1 << 20)
_ALLOWED = set.intersection(*(set(rules.allowed) for rules in load_rules().values()))


class Inert:
    """Stands for whatever a pickle names: accepts every call and every change, and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        return Inert()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Accept an item."""

    def extend(self, items: Any) -> None:
        """Accept items."""

    def add(self, item: Any) -> None:
        """Accept an item."""


_PurePython: Any = getattr(pickle, "_Unpickler")  # noqa: B009 - typeshed has no name for it


class Recorder(_PurePython):  # type: ignore[misc]
    """Python's own unpickler in Python, with every name replaced by the stand-in."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: list[tuple[str, str]] = []

    dispatch = dict(_PurePython.dispatch)

    def load_bytearray8(self) -> None:
        """Refuse lengths beyond the input: Python's own code would allocate them first."""
        length = int.from_bytes(self.read(8), "little")
        if length > 1 << 16:
            raise pickle.UnpicklingError("longer than the input")
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> type[Inert]:
        """Record a name and give the stand-in."""
        self.names.append((module, name))
        return Inert

    def persistent_load(self, pid: Any) -> Inert:
        """Give the stand-in for an outside object."""
        return Inert()


def check_pickle(data: bytes) -> None:
    """Compare one stream with Python's unpickler."""
    stream = run_pickle(data, 0, _LIMITS)
    recorder = Recorder(data)
    complete = True
    try:
        recorder.load()
    except RecursionError:
        return
    except Exception:
        complete = False
    ours = {(node.module, node.name) for node in stream.log if type(node) is Global}
    if stream.limit is None:
        missed = {python3_name(*name) for name in recorder.names} - ours
        if missed:
            raise AssertionError(f"Python imports {missed}, we did not see it: {stream.problem}")
        if complete and not stream.complete:
            raise AssertionError(f"Python reads it to the end, we stop: {stream.problem} at {stream.problem_offset}")

    check_shapes(data, stream)


def check_shapes(data: bytes, shaped: Stream) -> None:
    """Compare a stream with what the loop reads opcode by opcode."""
    with patch.object(_machine, "read_tensors", lambda *arguments: 0):
        plain = run_pickle(data, 0, _LIMITS)
    one, other = (
        [(type(event).__mro__[-2], event[0] if type(event) is tuple else event.offset) for event in read.get_events()]
        for read in (shaped, plain)
    )
    ends = [(read.end, read.complete, read.problem, read.limit, read.problem_offset) for read in (shaped, plain)]
    if one != other or ends[0] != ends[1]:
        raise AssertionError(f"the shapes change the reading: {ends}")


def check_file(data: bytes) -> None:
    """Audit one file and print it in every form."""
    audit = audit_bytes(data, name="fuzz")
    format_audit(audit)
    format_report([audit])
    audit.to_json()
    if audit.verdict == "ok":
        beyond = set(audit.totals["globals"]) - _ALLOWED
        if beyond:
            raise AssertionError(f"ok, although it names {beyond}")


def shapes() -> bytes:
    """Two tensors, two dates and two versions behind as many memo entries as have a short PUT."""
    fill = b"".join(b"Nq" + bytes([at]) + b"0" for at in range(256))
    named = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"X\7\0\0\0storage", b"X\3\0\0\0cpu"]
    named += [b"ccollections\nOrderedDict\n", b"X\7\0\0\0version", b"cdatetime\ndatetime\n", b"c_codecs\nencode\n"]
    named.append(b"X\6\0\0\0latin1")
    for at, opcodes in enumerate(named):
        fill += opcodes + b"q" + bytes([at]) + b"0"
    index = 256

    def put() -> bytes:
        nonlocal index
        index += 1
        return b"r" + (index - 1).to_bytes(4, "little")

    made = b""
    for size in (b"K\2", b"M\x00\x01"):
        made += b"h\0((h\2h\1X\1\0\0\0" + b"7" + put() + b"h\3" + size + b"t" + put() + b"QK\0" + size + b"\x85"
        made += put() + b"K\1\x85" + put() + b"\x89h\4)R" + put() + b"t" + put() + b"R" + put()
        made += b"h\6h\7X\4\0\0\0abcd" + put() + b"h\x08\x86" + put() + b"R" + put() + b"\x85" + put() + b"R" + put()
        made += b"}" + put() + b"h\5K\1s"
    return b"\x80\2(" + fill + made + b"X\1\0\0\0k" + put() + b"}" + put() + b"j" + b"\0\1\0\0" + b"K\1st."


def seeds(name: str) -> list[bytes]:
    """A handful of small inputs of every kind."""
    values: list[Any] = [None, {"a": [1, 2.5, (True, "x")]}, {1, 2}, frozenset("ab"), b"ab", bytearray(b"x"), 2**80, 1j]
    made = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
    made.append(b"cos\nsystem\n(S'x'\ntR.")
    made.append(b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x01x\x85R.")
    made.append(b"(icollections\nOrderedDict\n(dp0\nb.")
    made.append(shapes())
    if name == "file":
        import zipfile

        for content in values[:4]:
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w") as archive:
                archive.writestr("a/data.pkl", pickle.dumps(content, 2))
                archive.writestr("a/version", "3")
            made.append(stream.getvalue())
        text = b'{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        made.append(len(text).to_bytes(8, "little") + text + bytes(4))
        magic = 0x1950A86A20F9469CFC6C
        legacy: list[Any] = [magic, 1001, {"little_endian": True}, {"a": 1}, []]
        made.append(b"".join(pickle.dumps(part, 2) for part in legacy))
    return made


def main() -> int:
    """Fuzz one target for a number of seconds."""
    name, seconds = sys.argv[1], sys.argv[2]
    folder = Path(tempfile.gettempdir()) / "mpt-fuzz" / f"audit-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds(name)):
        (folder / f"seed-{index}").write_bytes(seed)
    print(f"fuzzing {name} for {seconds} s, corpus and findings in {folder}", flush=True)
    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
    arguments += [f"-artifact_prefix={folder}/finding-", str(folder), "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup(arguments, check_pickle if name == "pickle" else check_file)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
