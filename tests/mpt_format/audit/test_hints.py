"""What the audit says of `add_safe_globals` is what the installed torch does with it."""

from __future__ import annotations

from typing import Any

import pytest
from mpt_format.audit import audit_bytes
from mpt_format.audit._hints import CONVERT_TO

from .agreement import compare_allow_listing, load_with_torch
from .corpus import all_cases

_CASES = [case for case in all_cases() if case.container == "zip" and case.protocol == 2]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_allow_listing_does_what_the_audit_says(case: Any) -> None:
    if load_with_torch(case.data) is None:
        assert audit_bytes(case.data, name=case.name).allowlist is None
        return
    promised, loads = compare_allow_listing(case)
    assert promised is loads


def test_every_kind_that_the_corpus_finds_has_something_to_write_instead() -> None:
    kinds = set()
    for case in _CASES:
        kinds |= {finding.kind for finding in audit_bytes(case.data, name=case.name).findings}
    assert kinds - set(CONVERT_TO) - {"opcode", "rule"} == set()
    assert len(kinds) > 25
