"""How often ordinary code is taken for a secret, and how long looking takes.

    python benchmarks/secret_findings.py [FOLDER]

The text of every file below a folder, by default the packages installed here, is looked through as if a difference
added it. No package ships a secret on purpose, so that what is found are examples in documentation.
"""

from __future__ import annotations

import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

from app_loader.provenance import find_secrets

SUFFIXES = (".py", ".yaml", ".toml", ".json", ".md", ".txt", ".cfg", ".js")
LARGEST_BYTES = 2_000_000


def main() -> None:
    """Print the table."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib"))
    kinds: Counter[str] = Counter()
    files = lines = size = 0
    spent_s = 0.0
    for path in root.rglob("*"):
        if path.suffix not in SUFFIXES or not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            continue
        text = path.read_bytes()
        added = b"\n".join(b"+" + line for line in text.split(b"\n"))
        start = time.process_time()
        found = find_secrets(f"+++ b/x{path.suffix}\n@@ -0,0 +1 @@\n".encode() + added)
        spent_s += time.process_time() - start
        kinds.update(kind for _, kind in found)
        files, lines, size = files + 1, lines + text.count(b"\n"), size + len(text)
    print(f"{files} files, {lines} lines, {size / 1e6:.0f} MB, {size / 1e6 / spent_s:.1f} MB/s")
    for kind, count in kinds.most_common():
        print(f"  {count:4} {kind}")


if __name__ == "__main__":
    main()
