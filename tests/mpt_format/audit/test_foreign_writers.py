"""Files of other writers are named as theirs: joblib's pickles with bytes in between, archives of torch.package."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from mpt_format import ConversionError, convert_checkpoint
from mpt_format.audit import audit_bytes

from tests.attacks.audit.attacks import glob, text

_WRAPPER = glob("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}" + text("shape") + b"K\x02\x85sb"
_RUN = glob("os", "system") + text("true") + b"\x85R"


def _joblib(before: bytes = b"", behind: bytes = b"") -> bytes:
    """A dict of one array as joblib writes it: the wrapper, an alignment byte, the numbers, the pickle again."""
    numbers = b"\x0f" + b"\xff" * 15 + b"\x00\x00\x80\x3f" * 4
    return b"\x80\x02}" + text("w") + before + _WRAPPER + behind + numbers + b"s."


def test_file_of_joblib_is_named_and_read_up_to_its_first_array(tmp_path: Path) -> None:
    audit = audit_bytes(_joblib(), name="model.joblib")
    assert (audit.container, audit.verdict) == ("joblib", "suspicious")
    assert [limit for limit in audit.limits_hit if limit.startswith("joblib")]
    assert all(answer.loads is False for answer in audit.torch.values())
    (tmp_path / "model.joblib").write_bytes(_joblib())
    with pytest.raises(ConversionError, match=r"joblib\.load"):
        convert_checkpoint(tmp_path / "model.joblib", tmp_path / "out.mpt")


@pytest.mark.parametrize("data", [_joblib(before=_RUN + b"0"), _joblib(behind=_RUN + b"0")])
def test_code_before_or_behind_a_wrapper_of_joblib_is_dangerous(data: bytes) -> None:
    assert audit_bytes(data, name="model.joblib").verdict == "dangerous"


def test_whole_pickle_that_names_the_wrapper_is_no_file_of_joblib() -> None:
    data = b"\x80\x02}" + text("w") + _WRAPPER + b"s."
    assert audit_bytes(data, name="model.pkl").container == "pickle"


def test_archive_of_torch_package_is_named_with_what_reads_it(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/.data/extern_modules", "torch\n")
        archive.writestr("model/.data/version", "6\n")
        archive.writestr("model/nets/net.py", "class Net: ...\n")
        archive.writestr("model/nets/net.pkl", b"\x80\x02" + glob("nets.net", "Net") + b")\x81.")
    audit = audit_bytes(stream.getvalue(), name="model.pt")
    assert (audit.container, audit.verdict) == ("torch-package", "incompatible")
    (tmp_path / "model.pt").write_bytes(stream.getvalue())
    with pytest.raises(ConversionError, match="PackageImporter"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "out.mpt")
