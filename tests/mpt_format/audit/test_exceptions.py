"""Exceptions and stack summaries: torch 2.14 takes them as their writer writes them, and its neighbours do not."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from mpt_format.audit import FileAudit, audit_bytes

from tests.attacks.audit.attacks import glob, p2, text, torch_zip

from .corpus import VALUES, History


def _audit(value: Any) -> FileAudit:
    stream = io.BytesIO()
    torch.save(value, stream)
    return audit_bytes(stream.getvalue(), name="made.pt")


@pytest.mark.parametrize(
    "name", ["exception", "exceptions of every build", "exception with attributes", "stack summary"]
)
def test_what_an_exception_or_a_stack_is_made_of_loads_in_one_version_alone(name: str) -> None:
    audit = _audit(VALUES[name]())
    assert [version for version, answer in audit.torch.items() if answer.loads] == ["2.14"]
    assert audit.verdict == "incompatible"


def test_subclass_of_list_may_be_allow_listed_in_one_version_alone() -> None:
    (finding,) = _audit({"history": History([1, 2])}).findings
    assert "in torch 2.14 `add_safe_globals" in finding.hint
    assert "in torch 2.9 to 2.13 and 2.15 allow-listing does not help" in finding.hint


def test_deque_is_no_subclass_of_list_in_any_version() -> None:
    (finding,) = _audit(VALUES["deque"]()).findings
    assert "in torch 2.9 to 2.15 allow-listing does not help" in finding.hint


_GROUP = glob("builtins", "ExceptionGroup")
_INTERRUPT = glob("builtins", "KeyboardInterrupt") + b")R"
_ERROR = glob("builtins", "ValueError") + b")R"


@pytest.mark.parametrize(
    "body",
    [
        glob("builtins", "UnicodeDecodeError") + b"(" + text("a") * 5 + b"tR",
        glob("builtins", "UnicodeEncodeError") + b"(" + text("a") * 2 + b"tR",
        _GROUP + b"(" + text("m") + b"]tR",
        _GROUP + b"(" + text("m") + b"](K\x01etR",
        _GROUP + b"(" + text("m") + b"](" + _ERROR + _INTERRUPT + b"etR",
        glob("builtins", "SyntaxError") + b"(" + text("m") + b"(K\x01K\x02K\x03ttR",
        glob("builtins", "BlockingIOError") + b"(K\x01" + text("m") + b"]tR",
        glob("traceback", "FrameSummary") + b"(" + text("/etc/hostname") + b"K\x01" + text("f") + b"tR",
        glob("traceback", "StackSummary") + b"(]tR",
    ],
)
def test_exception_made_of_what_it_does_not_take_is_refused(body: bytes) -> None:
    audit = audit_bytes(torch_zip(p2(body)), name="made.pt")
    assert audit.verdict in ("incompatible", "suspicious")
    assert audit.torch["2.14"].loads is False


@pytest.mark.parametrize(
    "body",
    [
        glob("builtins", "BaseExceptionGroup") + b"(" + text("m") + b"](" + _ERROR + _INTERRUPT + b"etR",
        glob("builtins", "SyntaxError") + b"(" + text("m") + b"(K\x01K\x02K\x03K\x04ttR",
        glob("builtins", "UnicodeDecodeError") + b")\x81",
        glob("traceback", "FrameSummary") + b")\x81N}" + text("lineno") + b"K\x01s\x86b",
    ],
)
def test_exception_made_as_its_writer_makes_it_loads(body: bytes) -> None:
    assert audit_bytes(torch_zip(p2(body)), name="made.pt").torch["2.14"].loads is True


@pytest.mark.parametrize(
    "body", [_ERROR + b"K\x01b", _ERROR + b"N}\x86b", glob("traceback", "FrameSummary") + b")\x81}b"]
)
def test_state_that_an_exception_or_a_frame_does_not_take_is_refused(body: bytes) -> None:
    assert audit_bytes(torch_zip(p2(body)), name="made.pt").torch["2.14"].loads is False
