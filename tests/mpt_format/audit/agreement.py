"""Does the audit say what torch does? One comparison, for the test suite and for other torch versions.

    uv run --no-project --with torch==2.9.1 --with numpy --with-editable packages/mpt-format \
        python -m tests.mpt_format.audit.agreement

prints every disagreement with the torch it runs under, and exits 1 if there is one.
"""

from __future__ import annotations

import importlib
import io
import itertools
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from mpt_format.audit import FileAudit, audit_bytes
from mpt_format.audit._containers import open_container
from mpt_format.audit._hints import needed_names
from mpt_format.audit._limits import DEFAULT_LIMITS
from mpt_format.audit._nodes import Call, Global
from mpt_format.audit._torch_rules import find_refusal
from mpt_format.audit._torch_table import Rules, load_rules

from .corpus import Case, generate_cases
from .odd_calls import odd_calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case: what torch did, and what the audit said."""

    case: Case
    loads: bool
    error: str
    audit: FileAudit

    @property
    def expected(self) -> bool | None:
        """The audit's answer for the running torch."""
        return self.audit.torch[running_version()].loads

    @property
    def agrees(self) -> bool:
        """Whether the answer for this torch is true, and `ok` is said of no file that it refuses."""
        return self.expected is self.loads and (self.loads or self.audit.verdict != "ok")


def running_version() -> str:
    """The minor version of the running torch, as the audit names it."""
    return ".".join(torch.__version__.split("+")[0].split(".")[:2])


def running_rules() -> Rules:
    """The rules of the running torch."""
    return [rules for version, rules in load_rules().items() if version.startswith(running_version() + ".")][-1]


def load_with_torch(data: bytes) -> str | None:
    """None when `torch.load(weights_only=True)` loads the bytes, else what it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


def compare(case: Case) -> Comparison:
    """Ask torch and the audit about one case."""
    error = load_with_torch(case.data)
    audit = audit_bytes(case.data, name=case.name)
    return Comparison(case=case, loads=error is None, error=error or "", audit=audit)


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


def loads_when_allowed(data: bytes, names: list[str]) -> bool:
    """Whether `torch.load(weights_only=True)` loads the bytes with these names allow-listed."""
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


def compare_allow_listing(case: Case) -> tuple[bool, bool]:
    """Of a refused file: whether allow-listing every name in it helps, as the audit says and as torch does."""
    root = open_container(case.data, DEFAULT_LIMITS).get_root()
    assert root is not None
    log = root.stream.log
    names = needed_names(event for event in log if type(event) in (Global, Call))
    helps = find_refusal(log, running_rules(), also_allowed=frozenset(names)) is None
    return helps, loads_when_allowed(case.data, names)


def main() -> int:
    """Compare the whole corpus and print what differs."""
    comparisons = [compare(case) for case in generate_cases()]
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    for comparison in wrong:
        print(f"{comparison.case.name}: torch {'loads' if comparison.loads else comparison.error[:300]!r}, "
              f"audit {comparison.audit.torch[running_version()]} {comparison.audit.verdict}")  # fmt: skip
    loading = sum(comparison.loads for comparison in comparisons)
    print(f"torch {torch.__version__}: {len(comparisons)} checkpoints, {loading} load, {len(wrong)} disagreements")
    refused = [c.case for c in comparisons if not c.loads and (c.case.container, c.case.protocol) == ("zip", 2)]
    untrue = [case.name for case in refused if len(set(compare_allow_listing(case))) > 1]
    for name in untrue:
        print(f"{name}: allow-listing does not do what the audit says")
    print(f"torch {torch.__version__}: {len(refused)} hints about allow-listing, {len(untrue)} of them untrue")
    promised, count = compare_odd_calls(1)
    for name in promised:
        print(f"{name}: the audit says that it loads, and torch refuses it")
    print(f"torch {torch.__version__}: {count} odd calls, {len(promised)} of them wrongly said to load")
    return 1 if wrong or untrue or promised else 0


def compare_odd_calls(step: int) -> tuple[list[str], int]:
    """Every so many of the odd calls: those that are said to load and do not, and how many were tried."""
    tried = list(itertools.islice(odd_calls(running_rules()), 0, None, step))
    wrong = []
    for name, data in tried:
        audit = audit_bytes(data, name=name)
        promised = audit.verdict == "ok" or audit.torch[running_version()].loads
        if promised and load_with_torch(data) is not None:
            wrong.append(name)
    return wrong, len(tried)


if __name__ == "__main__":
    sys.exit(main())
