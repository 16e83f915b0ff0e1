"""The public names of mpt_format are there, and each brings only what it needs."""

from __future__ import annotations

import subprocess
import sys

import mpt_format
import pytest


def test_every_public_name_can_be_imported() -> None:
    assert [name for name in mpt_format.__all__ if not hasattr(mpt_format, name)] == []
    assert set(mpt_format.__all__) <= set(dir(mpt_format))


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError):
        _ = mpt_format.no_such_name


def test_an_audit_imports_neither_the_archive_nor_the_conversion() -> None:
    code = "import sys, mpt_format; mpt_format.audit_checkpoint; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mpt_format.audit" in loaded
    assert loaded.isdisjoint({"mpt_format.archive", "mpt_format.convert", "torch", "rich", "jinja2"})
