"""What the audit says of `add_safe_globals` is what the installed torch does with it."""

from __future__ import annotations

import importlib
import io
import warnings
from typing import Any

import pytest
import torch
from mpt_format.audit import audit_bytes
from mpt_format.audit._containers import open_container
from mpt_format.audit._hints import CONVERT_TO, needed_names
from mpt_format.audit._limits import DEFAULT_LIMITS
from mpt_format.audit._nodes import Call, Global
from mpt_format.audit._torch_rules import find_refusal
from mpt_format.audit._torch_table import load_rules

from .agreement import load_with_torch, running_version
from .corpus import all_cases

_CASES = [case for case in all_cases() if case.container == "zip" and case.protocol == 2]


def _import(name: str) -> Any:
    """The object of a dotted name."""
    module, _, attribute = name.replace("exceptions.", "builtins.").rpartition(".")
    while True:
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, outer = module.rpartition(".")
            attribute = f"{outer}.{attribute}"
            continue
        for part in attribute.split("."):
            found = getattr(found, part)
        return found


def _loads_when_allowed(data: bytes, names: list[str]) -> bool:
    allowed: list[Any] = []
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _import(name)
        allowed.append((found, name))
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception:
            return False
    return True


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_allow_listing_does_what_the_audit_says(case: Any) -> None:
    if load_with_torch(case.data) is None:
        assert audit_bytes(case.data, name=case.name).allowlist is None
        return
    container = open_container(case.data, DEFAULT_LIMITS)
    root = container.get_root()
    assert root is not None
    log = root.stream.log
    names = needed_names(event for event in log if type(event) in (Global, Call))
    rules = next(r for v, r in load_rules().items() if v.startswith(running_version() + "."))
    expected = find_refusal(log, rules, also_allowed=frozenset(names)) is None
    assert _loads_when_allowed(case.data, names) is expected


def test_every_kind_that_the_corpus_finds_has_something_to_write_instead() -> None:
    kinds = set()
    for case in _CASES:
        kinds |= {finding.kind for finding in audit_bytes(case.data, name=case.name).findings}
    assert kinds - set(CONVERT_TO) - {"opcode", "rule"} == set()
    assert len(kinds) > 25
