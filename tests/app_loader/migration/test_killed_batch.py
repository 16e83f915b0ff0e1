"""A batch of migrations that is killed in the middle leaves whole archives, and the next one goes on from there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from mpt_format import open_archive


def test_a_batch_killed_while_it_writes_leaves_nothing_half_and_is_resumed(zoo: Any) -> None:
    runs, into = zoo.folder / "runs", zoo.folder / "into"
    runs.mkdir()
    sources = [zoo.save("0.1.0", f"runs/run{i}.mpt") for i in range(3)]
    before = [source.read_bytes() for source in sources]
    stops = (
        "import os\n"
        "from app_loader.migration import write\n"
        "from mpt_format.cli import mpt\n"
        "load = write._load\n"
        "def killed(archive, *rest):\n"
        "    if 'run1.mpt' in str(archive.path):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return load(archive, *rest)\n"
        "write._load = killed\n"
        "mpt()\n"
    )
    arguments = ["migrate", str(runs), "--into", str(into), "--to", "0.3.0", "--store", str(zoo.store.path)]
    killed = subprocess.run([sys.executable, "-c", stops, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in into.iterdir()] == ["run0.mpt"]  # not even what was computed for run1.mpt

    resumed = _run([*arguments, "--json"])
    assert resumed.returncode == 0, resumed.stderr
    assert [item["status"] for item in json.loads(resumed.stdout)] == ["done before", "migrated", "migrated"]
    assert sorted(path.name for path in into.iterdir()) == ["run0.mpt", "run1.mpt", "run2.mpt"]
    for source in sources:
        with open_archive(into / source.name) as archive:
            archive.verify("full")
    assert [source.read_bytes() for source in sources] == before


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mpt_format", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
