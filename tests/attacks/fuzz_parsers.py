"""Coverage-guided fuzzing of every parser with atheris; run by hand, not by pytest.

    uv venv -p 3.11 fuzz-venv && uv pip install -p fuzz-venv atheris pyyaml click
    PYTHONPATH=packages/mpt-format/src:. fuzz-venv/bin/python tests/attacks/fuzz_parsers.py all 180

The first argument is a parser's name or `all`, the second the seconds for each. A finding stops the run
with a traceback and leaves its input in the folder that is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["mpt_format", "yaml"]):
    from tests.attacks import parser_targets


def main() -> int:
    """Fuzz one parser in this process, or each in a process of its own."""
    name, seconds = sys.argv[1], sys.argv[2]
    if name == "all":
        command = [sys.executable, __file__]
        codes = [subprocess.call([*command, target, seconds], env=os.environ) for target in parser_targets.TARGETS]
        return max(codes)
    folder = Path(tempfile.gettempdir()) / "mpt-fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(parser_targets.seeds(name)):
        (folder / f"seed-{index}").write_bytes(seed)
    print(f"fuzzing {name} for {seconds} s, corpus and findings in {folder}", flush=True)
    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=16384", "-timeout=5", "-rss_limit_mb=2048"]
    arguments += [f"-artifact_prefix={folder}/finding-", str(folder), "-print_final_stats=1", "-verbosity=1"]

    def target(data: bytes) -> None:
        parser_targets.run_target(name, data)

    atheris.Setup(arguments, target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
