"""No file that runs code is called ok, none is executed, none makes the auditor raise, none takes its memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest
from mpt_format import AuditError, ConversionError, MptError, audit_checkpoint, convert_checkpoint
from mpt_format.audit import FileAudit, Limits, audit_bytes
from mpt_format.audit._markdown import format_report
from mpt_format.audit._text import format_audit

from .attacks import (
    GROUPS,
    MARKER,
    bombs,
    broken_tensors,
    containers,
    hidden_streams,
    pack,
    running_streams,
    torch_zip,
)
from .shaped import shaped
from .spelled import misused, nested, reached, spelled

_REPOSITORY = Path(__file__).parents[3]
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@pytest.fixture(autouse=True)
def no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / MARKER).exists()


def _legacy(stream: bytes) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (_MAGIC, _PROTOCOL, {"little_endian": True}))
    return head + stream + pickle.dumps([], 2)


def _print(audit: FileAudit) -> None:
    """Every form of the answer can be made, and none of them can steer a terminal."""
    for text in (format_audit(audit), format_report([audit]), json.dumps(audit.to_json())):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_every_stream_that_runs_code_is_dangerous() -> None:
    found = {name: audit_bytes(data, name=name) for name, data in running_streams()}
    assert {name: audit.verdict for name, audit in found.items() if audit.verdict != "dangerous"} == {}
    for audit in found.values():
        _print(audit)


@pytest.mark.parametrize("wrap", [bytes, torch_zip, _legacy])
def test_every_stream_that_runs_code_from_within_a_shape_is_dangerous(wrap: object) -> None:
    assert callable(wrap)
    verdicts = {name: audit_bytes(wrap(data), name=name).verdict for name, data in shaped()}
    assert {name for name, verdict in verdicts.items() if verdict != "dangerous"} == set()
    assert len(verdicts) > 20


@pytest.mark.parametrize("wrap", [torch_zip, _legacy])
def test_no_stream_that_runs_code_passes_inside_a_torch_file(wrap: object) -> None:
    assert callable(wrap)
    streams = [*running_streams(), *hidden_streams()]
    passed = [name for name, data in streams if audit_bytes(wrap(data), name=name).verdict in ("ok", "incompatible")]
    assert passed == []


@pytest.mark.parametrize("wrap", [bytes, torch_zip, _legacy])
def test_no_call_passes_however_it_is_spelled(wrap: object) -> None:
    assert callable(wrap)
    verdicts = {name: audit_bytes(wrap(data), name=name).verdict for name, data in [*spelled(), *reached()]}
    assert {name: verdict for name, verdict in verdicts.items() if verdict in ("ok", "incompatible", "notckpt")} == {}


def test_allowed_function_with_arguments_that_no_writer_gives_is_malformed(tmp_path: Path) -> None:
    for name, data in misused():
        audit = audit_bytes(torch_zip(data), name=name)
        assert audit.verdict == "malformed", name
        assert not any(answer.loads for answer in audit.torch.values()), name
        _print(audit)


def test_tensors_nested_without_end_are_read(tmp_path: Path) -> None:
    source = tmp_path / "source.pt"
    for name, data in nested():
        for wrapped in (data, torch_zip(data)):
            audit = audit_bytes(wrapped, name=name)
            assert audit.totals["calls"] >= 5000, name
            _print(audit)
        source.write_bytes(torch_zip(data))
        with pytest.raises(MptError):
            convert_checkpoint(source, tmp_path / "out.safetensors", as_fields=True)


def test_no_unknown_call_passes() -> None:
    passed = [n for n, data in hidden_streams() if audit_bytes(data, name=n).verdict in ("ok", "incompatible")]
    assert passed == []


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_all_streams_of_a_file_share_one_bound(method: int) -> None:
    limits = Limits(opcodes=10_000, all_opcodes=25_000)
    long = b"\x80\x02" + b"N" * 9_000 + b"0" * 8_999 + b"."
    for ending in (".pkl", ".txt"):
        data = pack({"a/data.pkl": b"\x80\x02}."} | {f"a/{i}{ending}": long for i in range(40)}, method)
        audit = audit_bytes(data, name="x", limits=limits)
        assert audit.verdict == "suspicious"
        assert any(limit.startswith("opcodes in all") for limit in audit.limits_hit)
        assert audit.totals["pickles"] < 10


def test_all_members_of_a_file_share_one_bound_for_unpacking() -> None:
    limits = Limits(all_unpacked_bytes=100_000)
    data = pack({"a/data.pkl": b"\x80\x02}."} | {f"a/{i}": bytes(60_000) for i in range(40)}, ZIP_DEFLATED)
    audit = audit_bytes(data, name="x", limits=limits)
    assert audit.verdict == "suspicious"
    assert any(limit.startswith("unpacked bytes in all") for limit in audit.limits_hit)


def test_member_that_cannot_be_unpacked_keeps_a_file_from_being_ok() -> None:
    data = pack({"a/notes.txt": b"cos\nsystem\n(S'x'\ntR."}, ZIP_LZMA)
    plain = pack({"a/data.pkl": b"\x80\x02}.", "a/version": b"3"})
    assert audit_bytes(plain, name="x").verdict == "ok"
    merged = io.BytesIO(plain)
    with ZipFile(merged, "a", ZIP_LZMA) as archive:
        archive.writestr("a/notes.txt", b"cos\nsystem\n(S'x'\ntR.")
    audit = audit_bytes(merged.getvalue(), name="x")
    assert (audit.verdict, len(audit.limits_hit)) == ("suspicious", 1)
    assert audit_bytes(data, name="x").verdict != "ok"


def test_text_beside_the_pickle_is_no_pickle() -> None:
    texts = [
        b"cat\ndog\nRat\n",
        b"import os\nimport re\n",
        b"class Model(Module):\n  def forward(self):\n    return 1\n",
    ]
    for content in texts:
        assert audit_bytes(torch_zip(b"\x80\x02}.", **{"archive/note.txt": content}), name="x").verdict == "ok"


def test_every_finding_of_a_call_has_its_byte() -> None:
    for name, data in running_streams():
        for finding in audit_bytes(data, name=name).findings:
            if finding.severity == "dangerous":
                assert finding.offset is not None and 0 <= finding.offset <= len(data), name


def test_no_container_hides_a_pickle() -> None:
    for name, data in containers():
        audit = audit_bytes(data, name=name)
        assert audit.verdict in ("dangerous", "malformed"), name
        _print(audit)


def test_no_container_hides_a_pickle_when_it_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "attack"
    for name, data in [*containers(), *broken_tensors()]:
        path.write_bytes(data)
        assert audit_checkpoint(path).verdict == audit_bytes(data, name=name).verdict, name


@pytest.mark.parametrize("offset", [1 << 40, 1 << 63, (1 << 64) - 1])
def test_header_offset_beyond_every_file_is_malformed(tmp_path: Path, offset: int) -> None:
    data = bytearray(torch_zip(b"\x80\x02}."))
    at = data.index(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    name_at = at + 46
    name_size = int.from_bytes(data[at + 28 : at + 30], "little")
    extra = b"\x01\x00\x08\x00" + offset.to_bytes(8, "little")
    data[at + 42 : at + 46] = b"\xff" * 4
    data[at + 30 : at + 32] = len(extra).to_bytes(2, "little")
    size = int.from_bytes(data[end + 12 : end + 16], "little") + len(extra)
    data[end + 12 : end + 16] = size.to_bytes(4, "little")
    data[name_at + name_size : name_at + name_size] = extra
    (tmp_path / "x.pt").write_bytes(data)
    assert audit_checkpoint(tmp_path / "x.pt").verdict == "malformed"


def test_containers_that_two_readers_read_differently_are_malformed_or_worse() -> None:
    for name, data in containers():
        audit = audit_bytes(data, name=name)
        if "differ" in name or "two main" in name or "overlap" in name or "NUL" in name:
            assert any(finding.severity == "malformed" for finding in audit.findings), name


def test_tensors_that_lie_about_their_layout_are_malformed() -> None:
    for name, data in broken_tensors():
        assert audit_bytes(data, name=name).verdict in ("malformed", "notckpt"), name


def test_nothing_is_executed_by_a_conversion(tmp_path: Path) -> None:
    source = tmp_path / "source.pt"
    for name, data in [*running_streams(), *containers()]:
        source.write_bytes(data if name.startswith("torch") else torch_zip(data))
        with pytest.raises(MptError):
            convert_checkpoint(source, tmp_path / "out.safetensors")


def test_tensors_can_be_taken_out_of_a_dangerous_file_without_running_it(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {MARKER}",)

    torch.save({"state_dict": {"w": torch.arange(3.0)}, "x": Evil()}, tmp_path / "evil.pt")
    assert audit_checkpoint(tmp_path / "evil.pt").verdict == "dangerous"
    with pytest.raises(ConversionError, match="only dropping"):
        convert_checkpoint(tmp_path / "evil.pt", tmp_path / "out.mpt")
    done = convert_checkpoint(tmp_path / "evil.pt", tmp_path / "out.mpt", drop=["root['x']"])
    assert done.audit.verdict == "ok"


def test_bombs_are_answered_within_bounds_of_time_and_memory(tmp_path: Path) -> None:
    names = [name for name, _ in bombs()]
    script = textwrap.dedent(
        """
        import json, resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
        from mpt_format.audit import audit_bytes
        from mpt_format.audit._text import format_audit
        from tests.attacks.audit.attacks import bombs
        verdicts = {}
        for name, data in bombs():
            audit = audit_bytes(data, name=name)
            assert len(format_audit(audit)) < 200_000, name
            verdicts[name] = audit.verdict
        print(json.dumps(verdicts))
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts = json.loads(done.stdout)
    assert list(verdicts) == names
    harmless = {"hundred thousand lists", "hundred thousand tuples", "hundred thousand marks", "self-similar"}
    harmless |= {"million empty dicts", "million duplicates", "huge integer", "huge integer in text"}
    assert [name for name, verdict in verdicts.items() if verdict == "ok"] == []
    with_call = {"self-similar with a call", "contains itself", "dict that is its own key", "long path"}
    assert all(verdicts[name] == "dangerous" for name in with_call)
    assert harmless <= set(verdicts)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuditError):
        audit_checkpoint(tmp_path / "pipe")


def test_folders_devices_loops_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, Path("/dev/null"), tmp_path / "loop", tmp_path / "missing"):
        with pytest.raises(AuditError):
            audit_checkpoint(path)


def test_corpus_is_as_large_as_the_documentation_says() -> None:
    makers = [*GROUPS.values(), spelled, reached, misused, nested]
    assert sum(1 for make in makers for _ in make()) >= 430
