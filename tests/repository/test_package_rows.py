"""The table of real packages in the docs and the rows that one command repeats are the same packages and versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| ([a-z0-9-]+)[^|]*\| (\d[^|]*?) \| (?:pass|fails|refused|see)", re.MULTILINE)


def test_every_row_of_the_table_can_be_repeated() -> None:
    table: dict[str, set[str]] = {}
    for name, versions in ROW.findall((ROOT / "docs" / "benchmarks" / "real-packages.md").read_text()):
        table.setdefault(name, set()).update(versions.split(", "))
    rows = tomllib.loads((ROOT / "end_to_end" / "packages" / "rows.toml").read_text())
    kept = {name: {each.partition(",")[0].partition("==")[2] for each in row["sets"]} for name, row in rows.items()}
    assert len(table) > 50
    assert kept == table
