# /// script
# requires-python = ">=3.11"
# dependencies = ["mpt-format", "picklescan==1.0.5", "fickling==0.1.12", "modelscan==0.8.8", "torch>=2.9", "numpy"]
# ///
r"""Compare the audit with torch's own check, picklescan, fickling and modelscan: verdicts, paths and time.

    uv run --no-project --with-editable packages/mpt-format --with picklescan==1.0.5 --with fickling==0.1.12 \
        --with modelscan==0.8.8 --with torch --with numpy python benchmarks/audit_comparison.py FILE...

Every tool is called in this process, one after the other in each of several runs; a time is the least of them, in
milliseconds of the processor. Prints tables in Markdown and asserts nothing about seconds.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = 7
Answer = tuple[str, str]
"""What a tool says: its verdict in one word, and how many places it names."""


def by_audit(path: Path) -> Answer:
    """The audit of this project."""
    from mpt_format.audit import audit_checkpoint

    audit = audit_checkpoint(path)
    return audit.verdict, f"{sum(1 for finding in audit.findings if finding.path)} paths"


def by_torch(path: Path) -> Answer:
    """torch.serialization.get_unsafe_globals_in_checkpoint: the names that the allow-list lacks."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:
        return f"raises {type(error).__name__}", "-"
    return ("refused" if names else "no names"), f"{len(names)} names"


def by_picklescan(path: Path) -> Answer:
    """picklescan.scanner.scan_file_path."""
    from picklescan.scanner import scan_file_path

    result = scan_file_path(str(path))
    word = "dangerous" if result.infected_files else "error" if result.scan_err else "clean"
    return word, f"{len(result.globals)} names"


def by_fickling(path: Path) -> Answer:
    """Fickling's safety check of the pickle: the torch zip's own pickle where there is one."""
    import zipfile

    from fickling.analysis import check_safety
    from fickling.fickle import Pickled, StackedPickle

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                pickled = Pickled.load(archive.read(name))
                severity = check_safety(pickled).severity
        else:
            with path.open("rb") as file:
                severity = max((check_safety(one).severity for one in StackedPickle.load(file)), default=None)
    except Exception as error:
        return f"raises {type(error).__name__}", "-"
    return getattr(severity, "name", str(severity)).lower(), "-"


def by_modelscan(path: Path) -> Answer:
    """modelscan.modelscan.ModelScan."""
    from modelscan.modelscan import ModelScan

    scan = ModelScan()
    scan.scan(str(path))
    issues = scan.issues.all_issues
    return ("issues" if issues else "error" if scan.errors else "clean"), f"{len(issues)} names"


TOOLS: dict[str, Callable[[Path], Answer]] = {
    "mpt audit": by_audit,
    "torch": by_torch,
    "picklescan": by_picklescan,
    "fickling": by_fickling,
    "modelscan": by_modelscan,
}


def load_with_torch(path: Path) -> str:
    """What the installed torch does."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return "refuses"
    return "loads"


def measure(path: Path) -> dict[str, tuple[Answer, float]]:
    """Each tool's answer, and the least of its times in milliseconds of this process; the tools take turns."""
    best: dict[str, tuple[Answer, float]] = {}
    for _ in range(RUNS):
        for name, tool in TOOLS.items():
            began = time.process_time()
            try:
                answer = tool(path)
            except Exception as error:
                answer = (f"raises {type(error).__name__}", "-")
            spent = (time.process_time() - began) * 1000
            best[name] = answer, min(spent, best[name][1] if name in best else spent)
    return best


def print_rows(headings: list[str], rows: list[list[str]]) -> None:
    """One Markdown table."""
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def write_probes(folder: Path) -> list[Path]:
    """Small files of known content: what torch accepts, what it refuses, and what runs code."""
    import datetime
    import pickle

    import torch

    made: dict[str, Any] = {
        "state_dict.pt": torch.nn.Linear(4, 4).state_dict(),
        "datetime.pt": {"at": datetime.datetime(2025, 1, 1)},
        "module.pt": torch.nn.Linear(4, 4),
    }
    for name, value in made.items():
        torch.save(value, folder / name)
    torch.save(made["state_dict.pt"], folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"a": 1}, folder / "protocol4.pt", pickle_protocol=4)
    attacks = {
        "system.pkl": b"cos\nsystem\n(S'true'\ntR.",
        "unknown_call.pkl": b"\x80\x02cvendor.tools\nhelper\nX\x04\x00\x00\x00true\x85R.",
        "behind.pkl": pickle.dumps({"a": 1}, 2) + b"cos\nsystem\n(S'true'\ntR.",
    }
    for name, data in attacks.items():
        (folder / name).write_bytes(data)
    return sorted(folder.iterdir())


def main() -> int:
    """Print verdicts and times for probes and for the files that were named."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        paths = [*write_probes(Path(folder)), *map(Path, sys.argv[1:])]
        verdicts, times = [], []
        totals = dict.fromkeys(TOOLS, 0.0)
        for path in paths:
            answers = measure(path)
            verdicts.append([path.name, load_with_torch(path), *(f"{a[0]}, {a[1]}" for a, _ in answers.values())])
            times.append([path.name, *(f"{spent:.2f}" for _, spent in answers.values())])
            if str(path) in sys.argv[1:]:
                for name, (_, spent) in answers.items():
                    totals[name] += spent
        print_rows(["file", "torch.load", *TOOLS], verdicts)
        print_rows(["file, ms", *TOOLS], times)
        if len(sys.argv) > 1:
            ratios = [f"{totals[name] / totals['mpt audit']:.1f}x" for name in TOOLS]
            print_rows(
                ["named files together", *TOOLS], [["ms", *(f"{t:.1f}" for t in totals.values())], ["ratio", *ratios]]
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
