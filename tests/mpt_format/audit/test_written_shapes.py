"""What libraries write, in the shapes they write it: paths that Python follows, hints that hold, one finding each."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import inspect
import io
import math
import pickle
from typing import Any

import pytest
import torch
from mpt_format.audit import FileAudit, audit_bytes

from tests.attacks.audit.attacks import glob, p2, pack, text, torch_zip


class Marked(torch.Tensor):
    """A subclass that torch does not know."""


def _saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _audit(value: Any) -> FileAudit:
    return audit_bytes(_saved(value), name="x.pt")


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2), "CEST")),
        dt.time(1, 2, tzinfo=dt.UTC),
        slice(dt.date(2026, 1, 2), None, None),
        collections.defaultdict(list),
        functools.partial(math.hypot, 3),
        ValueError(dt.date(2026, 1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_path_to_what_a_constructor_was_given_is_python(value: Any) -> None:
    root = {"a": value}
    audit = _audit(root)
    assert len(audit.findings) > 1
    for finding in audit.findings:
        assert finding.path is not None
        found = eval(finding.path, {"root": root})
        if finding.kind in ("datetime", "date", "time", "timedelta", "timezone"):
            assert type(found).__name__ == finding.kind


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_one_finding() -> None:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())), stream)
    audit = audit_bytes(stream.getvalue(), name="x.pt")
    assert [(finding.kind, finding.path) for finding in audit.findings] == [("torchscript", None)]
    assert audit.verdict == "incompatible"


def test_shard_of_a_distributed_checkpoint_is_read_in_all_its_parts() -> None:
    data = b"".join(_saved(value) for value in (torch.ones(3), torch.ones(3), {"when": dt.date(2026, 1, 2)}))
    audit = audit_bytes(data, name="__0_0.distcp")
    assert (audit.container, audit.verdict, audit.totals["pickles"]) == ("torch-shard", "incompatible", 3)
    assert [finding.kind for finding in audit.findings if finding.path] == ["date"]
    with pytest.raises(RuntimeError):
        torch.load(io.BytesIO(data), weights_only=True)


def test_tensor_subclass_is_one_finding_at_the_tensor() -> None:
    audit = _audit({"w": torch.ones(2).as_subclass(Marked)})
    assert [(finding.path, finding.kind) for finding in audit.findings] == [("root['w']", "tensor subclass")]
    assert audit.findings[0].name == f"{__name__}.Marked"


@pytest.mark.parametrize("module", ["torch._utils", "user.train", "__main__"])
def test_memory_format_is_one_finding_however_it_is_spelled(module: str) -> None:
    spelled = glob("builtins", "getattr") + glob(module, "torch") + text("channels_last") + b"\x86R"
    audit = audit_bytes(torch_zip(p2(b"}" + text("format") + spelled + b"s")), name="x.pt")
    assert [(finding.path, finding.kind) for finding in audit.findings] == [("root['format']", "torch value")]
    assert audit.verdict == "incompatible"


@pytest.mark.parametrize("callee", ["builtins.iter", "torch._tensor._rebuild_from_type_v2"])
def test_unknown_function_that_a_known_one_calls_is_suspicious(callee: str) -> None:
    module, _, name = callee.rpartition(".")
    given = glob("vendor.tools", "helper") + glob("torch", "Tensor") + b")N"
    body = glob(module, name) + b"(" + given + b"tR"
    audit = audit_bytes(torch_zip(p2(body)), name="x.pt")
    assert audit.verdict == "suspicious"
    assert any(finding.name == "vendor.tools.helper" and finding.kind == "call" for finding in audit.findings)


def test_allow_listing_is_not_spoken_of_where_torch_never_unpickles() -> None:
    beside = torch_zip(p2(b"}"), **{"archive/extra.pkl": p2(glob("vendor", "Thing") + b")\x81")})
    audit = audit_bytes(beside, name="x.pt")
    assert [finding.name for finding in audit.findings] == ["vendor.Thing"]
    assert "add_safe_globals" not in audit.findings[0].hint


@pytest.mark.parametrize("head", [b"\x08\x07\x12\x07pytorch", b"\x08\x0a\x12\x07pytorch", b"\x08\x03:\x10main"])
def test_onnx_model_is_named_as_one(head: bytes) -> None:
    audit = audit_bytes(head + bytes(200), name="x.onnx")
    assert (audit.container, audit.verdict) == ("onnx", "notckpt")


def test_torch_file_inside_a_pickles_bytes_is_read_and_is_not_appended() -> None:
    """As d3rlpy writes `.d3`: a pickle of the torch file's bytes and a config."""
    evil = torch_zip(p2(glob("posix", "system") + text("true") + b"\x85R"))
    for inner, verdict in ((torch_zip(p2(b"}")), "incompatible"), (evil, "dangerous")):
        found = audit_bytes(pickle.dumps({"torch": inner, "config": "{}"}), name="model.d3")
        assert found.verdict == verdict
        assert found.totals["pickles"] == 2
    appended = pickle.dumps({"config": "{}"}) + torch_zip(p2(b"}"))
    assert audit_bytes(appended, name="model.d3").verdict == "malformed"


def test_signatures_of_a_pickled_learner_run_nothing() -> None:
    def loss(prediction: object, weight: float = 1.0) -> object:
        return prediction

    found = audit_bytes(pickle.dumps(inspect.signature(loss), 2), name="signature.pkl")
    assert {finding.severity for finding in found.findings} == {"incompatible"}


def test_program_of_torch_export_is_told_from_a_checkpoint() -> None:
    members = {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/data/weights/weight_0": b"\0" * 8}
    found = audit_bytes(pack(members), name="m.pt2")
    assert (found.container, found.verdict) == ("pt2", "incompatible")
    assert "torch.export.load" in found.findings[0].hint
    hidden = pack({**members, "m/data/sample_inputs/model.pt": p2(glob("posix", "system") + text("true") + b"\x85R")})
    assert audit_bytes(hidden, name="m.pt2").verdict == "dangerous"


@pytest.mark.parametrize(
    "source", [b"import torch\nimport os\n\nx = 1\n", b"class Net:\n    pass\n", b"(lambda: 0)()\n"]
)
def test_source_of_a_program_is_no_pickle(source: bytes) -> None:
    assert audit_bytes(source, name="train.py").verdict == "notckpt"
